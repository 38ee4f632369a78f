"""Tensors as people write them on a command line: JSON, or files of JSON and of numpy's arrays."""

from __future__ import annotations

import contextlib
import json
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.client import TensorMetadata
from tidegate.client.tensors import Array, from_values
from tidegate.errors import Invalid

MOST_TEXT = 64 * 2**20
STANDARD_INPUT = "-"
Specs = Callable[[], Mapping[str, TensorMetadata]]


def read_inputs(given: Sequence[str], specs: Specs) -> dict[str, Array]:
    """Every input by its name; raises Invalid.

    `NAME=VALUE` is one input: JSON, a file (.json, .npy), or - for JSON on standard input.  Without a name it is all
    of them: a JSON object by name, a file of that (.json), an archive of arrays (.npz), or -.
    JSON takes its type from the model: `specs` is called for it once, and only then.
    """
    known: Specs = cache(specs)
    found: dict[str, Array] = {}
    for text in given:
        name, equals, value = text.partition("=")
        named = {name: _value(name, value)} if equals and not _is_object(text) else _several(text)
        found |= {one: _array(one, content, known) for one, content in named.items()}
    return found


def _is_object(text: str) -> bool:
    return text.lstrip().startswith("{")


def _value(name: str, text: str) -> Any:
    """An array, or JSON's values."""
    return _loaded(text) if text.endswith(".npy") else _json(text, f"input {name!r}")


def _several(text: str) -> Mapping[str, Any]:
    content = _loaded(text) if text.endswith(".npz") else _json(text, "the inputs")
    if not isinstance(content, Mapping):
        raise Invalid("inputs without a name", where=text[:80], do="write NAME=VALUE, or a JSON object by name")
    return content


def _loaded(path: str) -> Any:
    """An array, or the arrays of an archive."""
    with _readable(path), Path(path).open("rb") as file:
        content = np.load(file, allow_pickle=False)
        return dict(content) if isinstance(content, np.lib.npyio.NpzFile) else content


def _json(text: str, where: str) -> Any:
    if text == STANDARD_INPUT:
        text = sys.stdin.read(MOST_TEXT + 1)
    elif text.endswith(".json"):
        where = text
        with _readable(text), Path(text).open(encoding="utf-8") as file:
            text = file.read(MOST_TEXT + 1)
    if len(text) > MOST_TEXT:
        raise Invalid(f"more than the {MOST_TEXT} characters allowed", where=where, do="give it as .npy or .npz")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Invalid(
            "neither JSON nor a file .json, .npy or .npz", where=where, do="""texts need quotes: NAME='"a text"'"""
        ) from None


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise Invalid(f"cannot be read: {str(error)[:200]}", where=path) from None


def _array(name: str, content: Any, known: Specs) -> Array:
    if isinstance(content, np.ndarray):
        return content
    spec = known().get(name)
    if spec is None:
        raise Invalid(f"the model has no input {name!r}", do=f"it has {' '.join(known()) or 'none'}")
    try:
        return from_values(content, spec.datatype)
    except ValueError as error:
        raise Invalid(str(error), where=f"input {name!r}") from None
