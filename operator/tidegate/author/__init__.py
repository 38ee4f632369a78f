"""Making bundles: a trained model goes in, a directory whose every claim was proved comes out.

from tidegate.author import PackRequest, pack
packed = pack(estimator, PackRequest(out=Path("bundle"), name="digits", version="1.0.0"))
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tidegate.author.extras import need
from tidegate.author.request import DataSet, GoldenRequest, PackRequest

if TYPE_CHECKING:
    from tidegate.author.packing import Packed

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported, not later

__all__ = ["DataSet", "GoldenRequest", "PackRequest", "pack"]


def pack(source: object, request: PackRequest) -> Packed:
    """Make a bundle at `request.out` of a fitted estimator, a model file, or `module:factory`.

    Raises MissingExtra when onnx, numpy or ONNX Runtime are not installed, else what `tidegate.author.packing` says.
    """
    for module in ("numpy", "onnx", "onnxruntime"):
        need(module, extra="runtime")
    from tidegate.author import packing

    return packing.pack(source, request)
