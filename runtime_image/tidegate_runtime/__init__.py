"""The model server: protocols, admission, batching, ONNX Runtime, metrics, and the proof before it is ready."""

from __future__ import annotations

__version__ = "0.1.0"  # as in pyproject.toml; reading package metadata at every start would cost 20 ms
