"""Estimators in files of Python's own kind: pickles, which run code when they are read, and skops, which does not.

A pickle is read only when the user trusts it.  Both hold the attributes of a library's classes, so another version of
that library may read them and answer differently without a word: that is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tidegate.author.extras import EXTRA_OF, missing, need
from tidegate.errors import Failed, Invalid


class PickleRefused(Failed):
    """A pickle may run any code of whoever wrote it."""

    reason = "PickleRefused"


def read_pickle(path: Path, *, trusted: bool) -> Any:
    """The object in a pickle or joblib file; raises PickleRefused, or Invalid for what cannot be read."""
    if not trusted:
        raise PickleRefused(
            "this is a pickle: reading it runs whatever code its writer put into it",
            where=str(path),
            do="if you made it yourself, say --trust-pickle; better, name the function that builds it: module:function",
        )
    joblib = need("joblib", extra="sklearn")
    return _read(path, lambda: joblib.load(path))


def read_skops(path: Path, *, trusted: bool) -> Any:
    """The object in a skops file; types beyond those of known libraries only when the user trusts them."""
    need("skops", extra="sklearn")
    import skops.io

    unknown = _read(path, lambda: skops.io.get_untrusted_types(file=path))
    if unknown and not trusted:
        raise PickleRefused(
            f"it holds types that are not trusted: {', '.join(unknown)[:300]}",
            where=str(path),
            do="if you know them all, say --trust-pickle",
        )
    return _read(path, lambda: skops.io.load(path, trusted=unknown))


def _read(path: Path, load: Callable[[], Any]) -> Any:
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            value = load()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if extra := EXTRA_OF.get(package):
            raise missing(package, extra) from None
        raise Failed(
            f"it needs the package {error.name}, which is not installed",
            where=str(path),
            do="install what it was trained with, or add it to --isolated: --with PACKAGE",
            reason="MissingExtra",
        ) from None
    except Exception as error:  # noqa: BLE001 - what is cut off, or runs code, may raise anything
        raise Invalid(f"it cannot be read: {str(error)[:200] or type(error).__name__}", where=str(path)) from None
    for warning in told:
        _require_same_version(warning.message, path)
    return value


def _require_same_version(told: Any, path: Path) -> None:
    """scikit-learn warns when it reads what another version wrote; a fix release is no other version."""
    saved, here = (str(getattr(told, name, "")) for name in ("original_sklearn_version", "current_sklearn_version"))
    if saved and saved.split(".")[:2] != here.split(".")[:2]:
        raise Failed(
            f"it was saved by scikit-learn {saved}, here is {here}: it may answer differently without a word",
            where=str(path),
            do=f"pip install scikit-learn=={saved}, or save it again with {here}",
            reason="VersionMismatch",
        )
