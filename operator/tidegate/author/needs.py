"""Which framework a source needs, told without that framework: by its content, and by what Python code imports."""

from __future__ import annotations

import ast
import bz2
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tidegate.author.extras import EXTRA_OF
from tidegate.author.frameworks import FRAMEWORKS
from tidegate.author.frameworks.mlflow import model_in
from tidegate.author.recognise import kind_of_file, kind_of_folder
from tidegate.author.zips import DAMAGED_ZIP
from tidegate.errors import Invalid, UsageError

SCANNED = 64 << 20  # bytes of a pickle
OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
# In a pickle a name follows the opcode `c`, or its length in a byte: both may look like its first letter.
BEFORE = rb"(?:\b|(?<=c)|(?<=\x8c.))"
NAMES = re.compile(BEFORE + b"(" + b"|".join(name.encode() for name in EXTRA_OF) + rb")[.\n]", re.DOTALL)
BROUGHT = {"sklearn": ("xgboost", "lightgbm", "catboost"), "torch": ("huggingface",)}  # by these extras too


def extra_of(source: str) -> str:
    """The extra that brings what `source` needs; raises UsageError where that cannot be told."""
    path = Path(source)
    if path.is_dir() and kind_of_folder(path) == "mlflow":
        return extra_of(str(model_in(path)))
    if path.is_dir() or path.is_file():
        kind = kind_of_folder(path) if path.is_dir() else kind_of_file(path)
        if kind in ("pickle", "skops"):
            return _single(source, _named_in(_pickled(path) if kind == "pickle" else _skops_schema(path)))
        return FRAMEWORKS.get(kind, ("", "runtime"))[1]
    place = source.rpartition(":")[0]
    script = Path(place if place.endswith(".py") else place.replace(".", "/") + ".py")
    if not script.is_file():
        raise UsageError(
            "no such file", where=str(script) if place else source, do="name a model file, or script.py:function"
        )
    return _single(source, _imported(script))


def _single(source: str, packages: Iterable[str]) -> str:
    """One extra that brings all of these packages."""
    extras = {EXTRA_OF[package] for package in packages}
    extras -= {extra for extra, others in BROUGHT.items() if extras & set(others)}
    if len(extras) > 1:
        raise UsageError(
            f"it needs {' and '.join(sorted(extras))}, an isolated environment has one of them",
            where=source,
            do="install the extras yourself and leave --isolated out",
        )
    return extras.pop() if extras else "sklearn"


def _named_in(content: bytes) -> set[str]:
    """The frameworks whose names stand in a pickle, which is not run for this."""
    return {name.decode() for name in NAMES.findall(content)}


def _pickled(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(2)
    try:
        if head[:1] == b"\x78":
            return zlib.decompressobj().decompress(path.read_bytes(), SCANNED)
        with OPENERS.get(head, open)(path, "rb") as opened:
            return bytes(opened.read(SCANNED))
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise Invalid(f"it cannot be read: {error}", where=str(path), do="copy it again: it is damaged") from None


def _skops_schema(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("schema.json") as file:
            return file.read(SCANNED)
    except DAMAGED_ZIP as error:
        raise Invalid(f"it cannot be read: {error}", where=str(path), do="copy it again: it is damaged") from None


def _imported(script: Path) -> set[str]:
    """The frameworks that a script imports, anywhere in it."""
    try:
        tree = ast.parse(script.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise Invalid(f"cannot be read as Python: {error}", where=str(script)) from None
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found & EXTRA_OF.keys()
