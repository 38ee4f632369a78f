"""How a loaded model is called: one form for every way, `run(names, feeds, options)` with arrays in and out.

plain    the session's own `run`: processors, and texts anywhere
bfloat   models with BF16 tensors
bound    on a GPU: buffers that stay (gpu/bound.py)
graphed  on a GPU: sizes that are always the same, repeated as one CUDA graph (gpu/graphs.py)
steady   around one of these, on a GPU: always the same number of rows (gpu/steady.py)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from tidegate.bundle.errors import ModelInvalid
from tidegate.bundle.manifest import BundleDir
from tidegate_runtime import bfloat
from tidegate_runtime.interfaces import Array

Run = Callable[[list[str], dict[str, Array], Any], list[Array]]  # RunOptions last; raises whatever ONNX Runtime raises


def runner(sessions: Sequence[Any], bundle: BundleDir) -> Run:
    """A call of `sessions` in turn, on arrays as they come."""
    interface = bundle.manifest.interface
    if any(spec.element_type == "BF16" for spec in (*interface.inputs, *interface.outputs)):
        if any(spec.element_type == "BYTES" for spec in interface.inputs):
            raise ModelInvalid(
                "ONNX Runtime cannot be given BF16 and texts in one run: convert the BF16 tensors in the graph",
                where=bundle.manifest.model.file,
            )
        calls = [bfloat.runner(session, interface) for session in sessions]
    else:
        # The inner session's `run` saves 3 µs of a tiny model's 8; it is private, so the public one stands in.
        calls = [getattr(getattr(session, "_sess", None), "run", session.run) for session in sessions]
    return calls[0] if len(calls) == 1 else _in_turn(calls)


def _in_turn(calls: Sequence[Run]) -> Run:
    turns = itertools.cycle(calls)

    def run(names: list[str], feeds: dict[str, Array], options: Any) -> list[Array]:
        return next(turns)(names, feeds, options)

    return run
