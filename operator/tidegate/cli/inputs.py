"""Tensors as people write them on a command line: JSON, or files of JSON and of numpy's arrays."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.bundle.numpy_files import ALONE, read_arrays
from tidegate.client import TensorMetadata
from tidegate.client.tensors import Array, from_values
from tidegate.errors import Invalid, UsageError

MOST_TEXT = 64 * 2**20
MOST_ARRAYS = 2**30  # bytes of all arrays of a file: more than servers take in one request
MOST_SHOWN = 80  # characters of what was given, in an error
STANDARD_INPUT = "-"
ARRAYS = (".npy", ".npz")
Specs = Callable[[], Mapping[str, TensorMetadata]]


def read_inputs(given: Sequence[str], specs: Specs) -> dict[str, Array]:
    """Every input by its name; raises Invalid, or UsageError for one that is given twice.

    `NAME=VALUE` is one input: JSON, a file (.json, .npy), or - for JSON on standard input.  Without a name it is all
    of them: a JSON object by name, a file of that (.json), an archive of arrays (.npz), or -.
    JSON takes its type from the model: `specs` is called for it, and only then.
    """
    found: dict[str, Array] = {}
    for text in given:
        for name, content in _named(text).items():
            if name in found:
                raise UsageError(f"the input {name!r} is given twice", where="--input")
            found[name] = _array(name, content, specs)
    return found


def _named(text: str) -> Mapping[str, Any]:
    """Arrays and JSON's values by the names of their inputs."""
    name, equals, value = text.partition("=")
    if not equals or text.lstrip().startswith("{"):
        return _several(text)
    content = _content(value, f"input {name!r}")
    _is_no_request(content, value)
    if isinstance(content, Mapping):
        raise Invalid("inputs with names of their own", where=value[:MOST_SHOWN], do="leave NAME= away")
    return {name: content}


def _several(text: str) -> Mapping[str, Any]:
    content = _content(text, "the inputs")
    if isinstance(content, np.ndarray):
        raise Invalid("one array", where=text, do=f"write NAME={text}")
    if not isinstance(content, Mapping):
        raise Invalid("inputs without a name", where=text[:MOST_SHOWN], do="write NAME=VALUE, or a JSON object by name")
    _is_no_request(content, text)
    return content


def _is_no_request(content: Any, text: str) -> None:
    """Raise Invalid for the body of a request, which people have at hand: no tensor is a list of objects."""
    listed = content.get("inputs") if isinstance(content, Mapping) else None
    first = listed[0] if isinstance(listed, list) and listed else None
    if isinstance(first, dict):
        do = f"give its data as {first.get('name', 'NAME')}=..."
        raise Invalid("an Open Inference request", where=text[:MOST_SHOWN], do=do)


def _content(text: str, where: str) -> Any:
    """An array, arrays by name, or JSON's values."""
    return _loaded(text) if text.endswith(ARRAYS) else _json(text, where)


def _loaded(path: str) -> Any:
    """An array, or the arrays of an archive."""
    if not Path(path).stat().st_size:
        raise Invalid("is empty", where=path)
    try:
        found = read_arrays(Path(path), MOST_ARRAYS)
    except ValueError as error:
        raise Invalid(f"cannot be read: {error}", where=path) from None
    return found[ALONE] if path.endswith(".npy") and ALONE in found else found


def _json(given: str, where: str) -> Any:
    """The values that are written there, in the file that is named, or on standard input."""
    text = given
    if given == STANDARD_INPUT:
        where = "standard input"
        with _readable(where):
            text = sys.stdin.read(MOST_TEXT + 1)
    elif given.endswith(".json"):
        where = given
        with _readable(given), Path(given).open(encoding="utf-8") as file:
            text = file.read(MOST_TEXT + 1)
    if len(text) > MOST_TEXT:
        raise Invalid(f"more than the {MOST_TEXT} characters allowed", where=where, do="give it as .npy or .npz")
    if not text.strip():
        raise Invalid("is empty", where=where, do="give it JSON")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise _no_json(given, where) from None


def _no_json(given: str, where: str) -> Invalid:
    """What it is instead, as far as one can see."""
    if given == STANDARD_INPUT or given.endswith(".json"):
        return Invalid("is not JSON", where=where)
    if os.path.exists(given):  # noqa: PTH110 - pathlib's fails on text that is too long for a path
        return Invalid("neither JSON nor a file .json, .npy or .npz", where=given, do="name a file of these kinds")
    do = """texts need quotes: NAME='"a text"'"""
    return Invalid("neither JSON nor a file .json, .npy or .npz", where=where, do=do)


@contextlib.contextmanager
def _readable(where: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise Invalid(f"cannot be read: {str(error)[:200]}", where=where) from None


def _array(name: str, content: Any, specs: Specs) -> Array:
    if isinstance(content, np.ndarray):
        return content
    known = specs()
    spec = known.get(name)
    if spec is None:
        raise Invalid(f"the model has no input {name!r}", do=f"it has {' '.join(known) or 'none'}")
    try:
        return from_values(content, spec.datatype)
    except ValueError as error:
        raise Invalid(str(error), where=f"input {name!r}") from None
