"""What a benchmark ran on, for the line below its table."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def machine() -> dict[str, str | int]:
    names = [
        line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "cpu": names[0] if names else platform.machine(), "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release().split("-")[0], "python": platform.python_version(),
        "onnxruntime": version("onnxruntime"),
    }  # fmt: skip


def sentence(found: dict[str, str | int]) -> str:
    return (
        f"{found['cores']} cores, {found['cpu']}, Linux {found['kernel']}, Python {found['python']}, "
        f"ONNX Runtime {found['onnxruntime']}."
    )
