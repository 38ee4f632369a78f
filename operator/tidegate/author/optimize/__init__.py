"""Smaller and faster variants of bundles, each proved against its parent.

from tidegate.author.optimize import OptimizeRequest, optimize
packed, comparison = optimize("digits", OptimizeRequest(Path("small"), "1.0.0-int8", data, precision="int8-static"))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tidegate.author.extras import need
from tidegate.author.optimize.request import OptimizeRequest, Precision

if TYPE_CHECKING:
    from tidegate.author.optimize.comparison import Comparison
    from tidegate.author.packing import Packed

__all__ = ["OptimizeRequest", "Precision", "optimize"]


def optimize(ref: str, request: OptimizeRequest, say: Callable[[str], None] | None = None) -> tuple[Packed, Comparison]:
    """Make the variant and its bundle; raises MissingExtra without what it needs, else as `optimizing` says."""
    for module in ("numpy", "onnx", "onnxruntime", "packaging", "sympy"):
        need(module, extra="optimize")
    from tidegate.author.optimize import optimizing

    return optimizing.optimize(ref, request, say or (lambda _: None))
