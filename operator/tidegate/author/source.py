"""Recognising what is to be packed by its content, never by its name, and loading it.

A pickle runs code when it is read, so it is read only when the user says that it is trusted.  A factory
(`module:function`, `script.py:function`) runs code as well, but that is what asking for it means.
"""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tidegate.author.extras import need
from tidegate.errors import Failed, Invalid, UsageError

HEAD = 64


class PickleRefused(Failed):
    """A pickle may run any code of whoever wrote it."""

    reason = "PickleRefused"


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """An ONNX model in a file, its external weights beside it."""

    path: Path


@dataclass(frozen=True, slots=True)
class Estimator:
    """A Python object that predicts; `rows` is an example of its data, where the factory gave one."""

    value: Any
    folder: Path | None
    rows: Any = None


def load(source: object, *, trust_pickle: bool) -> OnnxFile | Estimator:
    """What `source` is: a path, a factory, or already an estimator."""
    if not isinstance(source, str | Path):
        return Estimator(source, None)
    path = Path(source)
    if path.is_dir():
        raise Invalid("this is a folder", where=str(path), do="name the model's file, such as model.onnx")
    if path.is_file():
        return _from_file(path, trust_pickle)
    if ":" in str(source):
        return _from_factory(str(source))
    raise UsageError("no such file", where=str(path), do="name a model file, or a factory as module:function")


def _from_file(path: Path, trust_pickle: bool) -> OnnxFile | Estimator:
    with path.open("rb") as file:
        head = file.read(HEAD)
    if other := foreign_format(head, path):
        raise Failed(f"this is {other[0]}", where=str(path), do=other[1], reason="FormatUnsupported")
    if looks_pickled(head):
        return Estimator(_unpickle(path, trust_pickle), path.parent)
    return OnnxFile(path)


def looks_pickled(head: bytes) -> bool:
    """A pickle of protocol 2 and later, or one that joblib compressed."""
    compressed = (
        b"\x78\x01",
        b"\x78\x5e",
        b"\x78\x9c",
        b"\x78\xda",
        b"\x1f\x8b",
        b"BZh",
        b"\xfd7zXZ",
        b"\x04\x22\x4d\x18",
    )
    return head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") or head.startswith(compressed)


def foreign_format(head: bytes, path: Path) -> tuple[str, str] | None:
    """Formats of other frameworks: what it is, and how to get on."""
    if head.startswith(b"\x89HDF\r\n"):
        return "a Keras (HDF5) model", "export it with keras: model.export('model.onnx', format='onnx')"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model", "convert it: python -m tf2onnx.convert --tflite FILE --output model.onnx"
    if (head[:1] == b"{" and b'"learner"' in head) or head[:4] == b"binf":
        return "an XGBoost model", "convert it with onnxmltools.convert_xgboost"
    if head.startswith(b"tree\nversion"):
        return "a LightGBM model", "convert it with onnxmltools.convert_lightgbm"
    if head.startswith(b"PK"):
        return _inside_zip(path)
    return None


def _inside_zip(path: Path) -> tuple[str, str]:
    try:
        names = zipfile.ZipFile(path).namelist()
    except zipfile.BadZipFile:
        return "a damaged zip archive", "copy it again"
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch file", "export it: torch.onnx.export(model, args, 'model.onnx', dynamo=True)"
    if "model.weights.h5" in names:
        return "a Keras model", "export it: model.export('model.onnx', format='onnx')"
    return "a zip archive", "unpack it and name the model's file"


def _unpickle(path: Path, trusted: bool) -> object:
    if not trusted:
        raise PickleRefused(
            "this is a pickle: reading it runs whatever code its writer put into it",
            where=str(path),
            do="if you made it yourself, say --trust-pickle; better, name the function that builds it: module:function",
        )
    joblib = need("joblib", extra="sklearn")
    try:
        return joblib.load(path)
    except ModuleNotFoundError as error:
        raise Failed(
            f"it needs the package {error.name}, which is not installed",
            where=str(path),
            do="install what it was trained with: for scikit-learn, pip install 'tidegate[sklearn]'",
            reason="MissingExtra",
        ) from None
    except (pickle.UnpicklingError, EOFError, ValueError, AttributeError, ImportError, KeyError, IndexError) as error:
        raise Invalid(f"it cannot be read: {str(error)[:200] or type(error).__name__}", where=str(path)) from None


def _from_factory(source: str) -> Estimator:
    place, _, name = source.rpartition(":")
    module = _module(place)
    factory: Callable[[], Any] | None = getattr(module, name, None)
    if not callable(factory):
        raise Invalid(f"there is no function '{name}' in it", where=place)
    try:
        made = factory()
    except Exception as error:
        raise Failed(f"{name}() failed: {type(error).__name__}: {str(error)[:300]}", where=place) from error
    folder = Path(module.__file__).parent if module.__file__ else None
    match made:
        case (estimator, rows):
            return Estimator(estimator, folder, rows)
    return Estimator(made, folder)


def _module(place: str) -> ModuleType:
    path = Path(place)
    if path.suffix != ".py":
        sys.path.insert(0, str(Path.cwd()))
        try:
            return importlib.import_module(place)
        except ImportError as error:
            raise Invalid(f"cannot be imported: {error}", where=place) from None
        finally:
            sys.path.remove(str(Path.cwd()))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UsageError("no such script", where=place)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # so that what it defines can be found again
    spec.loader.exec_module(module)
    return module
