"""Tidegate: proves ONNX models before they get traffic, serves them, and shifts traffic between versions.

The map of the house is in CONTRIBUTING.md; the layers are checked by import-linter.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would have to be imported: Ctrl-C is answered in our words only after that
if TYPE_CHECKING:
    from tidegate.client import Client

__all__ = ["Client"]
__version__ = "0.1.0"  # as in pyproject.toml; the images hold the source, without metadata of a package


def __getattr__(name: str) -> object:
    """`tidegate.Client`, imported when it is asked for: the server's start and every command import this module."""
    if name != "Client":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tidegate.client import Client

    return Client
