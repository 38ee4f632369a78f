"""Tidegate: proves ONNX models before they get traffic, serves them, and shifts traffic between versions.

The map of the house is in CONTRIBUTING.md; the layers are checked by import-linter.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would have to be imported: Ctrl-C is answered in our words only after that
if TYPE_CHECKING:
    from tidegate.author.derive.composing import Compose
    from tidegate.author.derive.extracting import Extract
    from tidegate.author.derive.heads import TrainHead
    from tidegate.author.derive.new_weights import NewWeights
    from tidegate.author.derive.notebook import derive
    from tidegate.author.derive.processing import Process
    from tidegate.author.images import ImageForm
    from tidegate.author.notebook import check, diff, inspect, matrix, pack, pull, push, verify
    from tidegate.author.optimize.notebook import optimize
    from tidegate.author.request import DataSet
    from tidegate.author.results import Bundle
    from tidegate.client import Client
    from tidegate.errors import TidegateError

__version__ = "0.1.0"  # as in pyproject.toml; the images hold the source, without metadata of a package

# Each is imported when it is asked for: the server's start and every command import this module.
_PLACES = {
    **dict.fromkeys(
        ("check", "diff", "inspect", "matrix", "pack", "pull", "push", "verify"), "tidegate.author.notebook"
    ),
    "Bundle": "tidegate.author.results",
    "Client": "tidegate.client",
    "Compose": "tidegate.author.derive.composing",
    "DataSet": "tidegate.author.request",
    "Extract": "tidegate.author.derive.extracting",
    "ImageForm": "tidegate.author.images",
    "NewWeights": "tidegate.author.derive.new_weights",
    "Process": "tidegate.author.derive.processing",
    "TrainHead": "tidegate.author.derive.heads",
    "TidegateError": "tidegate.errors",
    "derive": "tidegate.author.derive.notebook",
    "optimize": "tidegate.author.optimize.notebook",
}

__all__ = [
    "Bundle",
    "Client",
    "Compose",
    "DataSet",
    "Extract",
    "ImageForm",
    "NewWeights",
    "Process",
    "TidegateError",
    "TrainHead",
    "check",
    "derive",
    "diff",
    "inspect",
    "matrix",
    "optimize",
    "pack",
    "pull",
    "push",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
