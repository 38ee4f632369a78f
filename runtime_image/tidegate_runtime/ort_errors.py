"""ONNX Runtime's errors in words that may be shown: its exceptions share no base class and carry paths."""

from __future__ import annotations

import re
from pathlib import Path


def sentence(error: Exception, path: Path) -> str:
    """ONNX Runtime's message in one line, without the places of this machine."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    text = text.replace(str(path), path.name).replace(str(path.parent), ".")
    text = re.sub(r"/onnxruntime_src/\S+:\d+ .*?\)(?: const)? (?=[A-Z])", "", text, flags=re.DOTALL)  # C++'s own words
    text = re.sub(r"/onnxruntime_src/\S+|0x[0-9a-f]+", "", text)
    return re.sub(r"\s+", " ", text).strip()[:300] or type(error).__name__
