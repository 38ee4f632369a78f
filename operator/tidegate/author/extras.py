"""Optional packages: imported when they are needed, and named in one sentence when they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from tidegate.errors import Failed


class MissingExtra(Failed):
    """A package that one of our extras brings is not installed."""

    reason = "MissingExtra"


def need(module: str, *, extra: str) -> ModuleType:
    """Import `module`, or say which extra brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"this needs the package {error.name or module}, which is not installed",
            do=f"run: pip install 'tidegate[{extra}]'",
        ) from None
