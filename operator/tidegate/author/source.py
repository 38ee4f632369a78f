"""Recognising what is to be packed by its content, never by its name, and loading it.

A pickle runs code when it is read, so it is read only when the user says that it is trusted.  A factory
(`module:function`, `script.py:function`) runs code as well, but that is what asking for it means.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tidegate.author.extras import EXTRA_OF, missing
from tidegate.author.frameworks import FRAMEWORKS, Found
from tidegate.author.pickles import read_pickle, read_skops
from tidegate.author.recognise import ESTIMATOR, NAMES, kind_of_file, kind_of_folder, kind_of_value
from tidegate.errors import Failed, Invalid, TidegateError, UsageError

# What can be said about formats that nothing here converts.
ADVICE = {
    "safetensors": "name the function that builds the model: tidegate pack model.py:build --weights FILE",
    "zip": "unpack it and name the model's file",
    "damaged-zip": "copy it again",
}
ELSE = "export it to ONNX and pack the .onnx file"


def load(source: object, *, trust_pickle: bool) -> Found:
    """What `source` is: a path, a factory, or already a model in memory."""
    if not isinstance(source, str | Path):
        return _known(Found(kind_of_value(source), value=source), type(source).__name__)
    path = Path(source)
    if path.is_dir():
        return _from_folder(path)
    if path.is_file():
        return _from_file(path, trust_pickle)
    if ":" in str(source):
        return _from_factory(str(source))
    raise UsageError("no such file", where=str(path), do="name a model file, or a factory as module:function")


def _from_folder(path: Path) -> Found:
    kind = kind_of_folder(path)
    if not kind:
        raise Invalid("this is a folder", where=str(path), do="name the model's file, such as model.onnx")
    return _known(Found(kind, path, folder=path), str(path))


def _from_file(path: Path, trust_pickle: bool) -> Found:
    kind = kind_of_file(path)
    if read := _READERS.get(kind):
        value = read(path, trusted=trust_pickle)
        return _known(Found(kind_of_value(value), value=value, folder=path.parent), str(path))
    return _known(Found(kind, path, folder=path.parent), str(path))


_READERS: dict[str, Callable[..., Any]] = {"pickle": read_pickle, "skops": read_skops}


def _known(found: Found, where: str) -> Found:
    """`found`, if some module converts its kind."""
    if found.kind not in FRAMEWORKS:
        raise Failed(
            f"this is {NAMES.get(found.kind, found.kind)}",
            where=where,
            do=ADVICE.get(found.kind, ELSE),
            reason="FormatUnsupported",
        )
    return found


def _from_factory(source: str) -> Found:
    factory = factory_at(source)
    if kind_of_value(factory.function) != ESTIMATOR:  # a model itself, such as a function in ONNX Script
        return found_in(factory.function, source, factory.folder)
    return found_in(called(factory, source), source, factory.folder)


@dataclass(frozen=True, slots=True)
class Factory:
    """A function of the user's, and the folder that its module lies in."""

    function: Callable[..., Any]
    folder: Path | None


def factory_at(source: str) -> Factory:
    """The function that `module:function` or `script.py:function` names; imports the module."""
    place, _, name = source.rpartition(":")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # before the factory imports Keras: see frameworks/keras.py
    module = _module(place)
    function = getattr(module, name, None)
    if not callable(function):
        raise Invalid(f"there is no function '{name}' in it", where=place)
    return Factory(function, Path(module.__file__).parent if module.__file__ else None)


def called(factory: Factory, source: str, *given: Any) -> Any:
    """What the function returns; what it raises comes as Failed."""
    place, _, name = source.rpartition(":")
    with _in_a_sentence(place, f"{name}() failed"):
        return factory.function(*given)


def found_in(made: Any, source: str, folder: Path | None) -> Found:
    """What a factory returned: a model, or a pair of it and an example of its data."""
    value, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)  # noqa: PLR2004 - a pair
    return _known(Found(kind_of_value(value), value=value, folder=folder, example=example), source)


def _module(place: str) -> ModuleType:
    """The module or script, run; whatever goes wrong in it in one sentence."""
    with _in_a_sentence(place, "cannot be imported"):
        return _script(Path(place)) if place.endswith(".py") else _importable(place)


@contextlib.contextmanager
def _in_a_sentence(place: str, failed: str) -> Iterator[None]:
    """What the user's code raises, as one error: a missing framework names its extra, leaving early is no success."""
    try:
        yield
    except ModuleNotFoundError as error:
        if extra := EXTRA_OF.get(error.name or ""):
            raise missing(str(error.name), extra) from None
        raise Invalid(f"{failed}: {error}", where=place, do="install it, or correct its name") from None
    except TidegateError:
        raise
    except SystemExit as error:
        raise Failed(f"{failed}: it ends the program ({error})", where=place) from error
    except Exception as error:
        raise Failed(f"{failed}: {type(error).__name__}: {str(error)[:300]}", where=place) from error


def _importable(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(Path.cwd()))


def _script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UsageError("no such script", where=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # so that what it defines can be found again
    spec.loader.exec_module(module)
    return module
