"""Telling what a model file or folder is by its content, never by its name, and without the framework it came from."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from tidegate.author.zips import DAMAGED_ZIP

HEAD = 4096
PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
COMPRESSED = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x04\x22\x4d\x18")

ESTIMATOR = "estimator"  # whatever no other framework has defined

# Kind -> what a person calls it.
NAMES = {
    "catboost": "a CatBoost model",
    "frozen-graph": "a TensorFlow graph",
    "huggingface": "a Hugging Face model folder",
    "keras": "a Keras model",
    "lightgbm": "a LightGBM model",
    "mlflow": "an MLflow model folder",
    "onnx": "an ONNX model",
    "pickle": "a pickle",
    "safetensors": "weights without a model (safetensors)",
    "saved-model": "a TensorFlow SavedModel",
    "skops": "a skops file",
    "tflite": "a TensorFlow Lite model",
    "torch-exported": "an exported PyTorch program",
    "torch-pickle": "pickled PyTorch objects",
    "torchscript": "a TorchScript model",
    "xgboost": "an XGBoost model",
    "zip": "a zip archive",
    "damaged-zip": "a damaged zip archive",
}


def kind_of_file(path: Path) -> str:
    """The kind of a file; "onnx" for whatever has no mark of its own: reading it will tell."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head.startswith(b"PK"):
        return _kind_of_zip(path)
    if head.startswith((*PICKLES, *COMPRESSED)):
        return "pickle"
    return next((kind for kind, matches in _MARKS if matches(head)), "onnx")


def kind_of_folder(path: Path) -> str:
    """The kind of a folder; "" when it is none that is known."""
    if (path / "MLmodel").is_file():
        return "mlflow"
    if (path / "saved_model.pb").is_file():
        return "saved-model"
    if len(list(path.glob("*.onnx"))) == 1:
        return "onnx"
    return "huggingface" if "model_type" in _keys_of(path / "config.json") else ""


def _keys_of(path: Path) -> frozenset[str]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return frozenset()
    return frozenset(found) if isinstance(found, dict) else frozenset()


def _is_graph_def(head: bytes) -> bool:
    """A GraphDef begins with a node, and that with its name; an ONNX model begins with a number, its IR version."""
    return re.match(rb"\n(?:[\x00-\x7f]|[\x80-\xff][\x00-\x7f])\n", head) is not None


_MARKS: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("keras", lambda head: head.startswith(b"\x89HDF\r\n")),
    ("tflite", lambda head: head[4:8] == b"TFL3"),
    ("xgboost", lambda head: head[:1] == b"{" and b"learner" in head[:64]),  # JSON and UBJSON alike
    ("xgboost", lambda head: head[:4] == b"binf"),
    ("lightgbm", lambda head: head.startswith(b"tree\nversion")),
    ("catboost", lambda head: head.startswith(b"CBM1")),
    ("safetensors", lambda head: head[6:9] == b"\0\0{"),  # a length of 8 bytes, then JSON
    ("frozen-graph", _is_graph_def),
)


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            starts = [entry.header_offset for entry in archive.infolist()]
    except DAMAGED_ZIP:
        return "damaged-zip"
    if min(starts, default=0):  # what was found is a zip inside of one that is cut off
        return "damaged-zip"
    inner = {name.partition("/")[2] for name in names}  # PyTorch puts everything under the archive's name
    if "archive_format" in inner or "serialized_exported_program.json" in names:
        return "torch-exported"
    if "data.pkl" in inner:
        return "torchscript" if any(name.startswith("code/") for name in inner) else "torch-pickle"
    if "model.weights.h5" in names:
        return "keras"
    return "skops" if "schema.json" in names else "zip"


# The package (or a part of it) that defines a class -> the kind of its objects.
_CLASSES = (
    ("torch.export", "torch-exported"),
    ("torch.jit", "torchscript"),
    ("torch.nn", "torch-module"),
    ("keras", "keras"),
    ("tensorflow", "saved-model"),
    ("flax", "jax"),
    ("equinox", "jax"),
    ("jaxlib", "jax"),  # what jax.jit gives
    ("jax", "jax"),
    ("xgboost.core", "xgboost"),  # a booster: estimators are of xgboost.sklearn
    ("lightgbm.basic", "lightgbm"),
    ("catboost.core", "catboost"),
    ("onnxscript", "onnxscript"),
    ("onnx", "onnx"),
)


def kind_of_value(value: object) -> str:
    """The kind of a Python object by where its class, or one that it comes from, was defined."""
    for class_ in type(value).__mro__:
        for package, kind in _CLASSES:
            if f"{class_.__module__}.".startswith(f"{package}."):
                return kind
    return ESTIMATOR
