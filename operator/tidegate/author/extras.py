"""Optional packages: imported when they are needed, and named in one sentence when they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from tidegate.errors import Failed

# A framework's package -> the extra that brings it, with its converter.
EXTRA_OF = {
    "catboost": "catboost",
    "flax": "jax",
    "jax": "jax",
    "joblib": "sklearn",
    "keras": "tensorflow",
    "lightgbm": "lightgbm",
    "onnxscript": "onnxscript",
    "sklearn": "sklearn",
    "skops": "sklearn",
    "tensorflow": "tensorflow",
    "torch": "torch",
    "transformers": "huggingface",
    "xgboost": "xgboost",
}
WITHOUT = ", or let `tidegate pack --isolated` install it for this once"


class MissingExtra(Failed):
    """A package that one of our extras brings is not installed."""

    reason = "MissingExtra"


def need(module: str, *, extra: str) -> ModuleType:
    """Import `module`, or say which extra brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing(error.name or module, extra) from None


def missing(package: str, extra: str) -> MissingExtra:
    """The sentence about a package that is not there."""
    return MissingExtra(
        f"this needs the package {package}, which is not installed",
        do=f"run: pip install 'tidegate[{extra}]'" + (WITHOUT if extra in EXTRA_OF.values() else ""),
    )
