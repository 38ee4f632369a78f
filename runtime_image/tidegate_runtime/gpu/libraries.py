"""CUDA's and TensorRT's libraries, which pip puts where no linker looks: loaded before ONNX Runtime asks for them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from tidegate_runtime.ort import onnxruntime

TENSORRT: Final = ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10")  # as onnxruntime-gpu links


def load(device: str) -> None:
    """Load what `device` needs; what is missing is told on stderr, and by ONNX Runtime when it opens a session."""
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # NVML's order: number 0 is the same GPU to both
    with contextlib.redirect_stdout(sys.stderr):  # it prints what it misses
        onnxruntime.preload_dlls()
    if device == "tensorrt":
        package = find_spec("tensorrt_libs")
        folders = [Path(folder) for folder in package.submodule_search_locations or ()] if package else []
        for name in TENSORRT:
            load_library(name, folders)


def load_library(name: str, folders: list[Path] | None = None) -> Any | None:
    """The library from the first of `folders` that has it, else from where the linker finds it; None: nowhere."""
    places = [str(folder / name) for folder in folders or () if (folder / name).exists()]
    for place in (*places, name):
        with contextlib.suppress(OSError):
            return ctypes.CDLL(place, mode=ctypes.RTLD_GLOBAL)
    return None


def tensorrt_version() -> str:
    """TensorRT's own number, "101300" for 10.13.0; empty when it is not there."""
    library = load_library(TENSORRT[0])
    return str(library.getInferLibVersion()) if library else ""


def cuda_runtime() -> Any | None:
    """CUDA's runtime library, the one that ONNX Runtime uses; None when there is none."""
    version = str(getattr(onnxruntime, "cuda_version", "") or "")
    return load_library(f"libcudart.so.{version.partition('.')[0]}") if version else None
