"""8 bits where they cost nothing: each layer is tried alone, and those that hurt most stay in float.

What hurts is told without labels, on the calibration rows, so that the rows that judge stay unseen: a layer's error is
how far the answers move with only this layer in 8 bits, and enough stays in float once no more rows than allowed get
another answer than the parent's.  Accuracy cannot drop by more than the share of such rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from tidegate.author.optimize.probe import answers
from tidegate.author.optimize.quality import Fidelity
from tidegate.author.optimize.quantize import Calibrated, calibrate
from tidegate.author.optimize.rows import Lessons
from tidegate.author.session import Array
from tidegate.errors import Failed

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Mixed:
    """The model, the layers that stay in float, and the error of every layer alone, largest first."""

    model: onnx.ModelProto
    left: tuple[str, ...]
    errors: tuple[tuple[str, float], ...]


def mixed(model: onnx.ModelProto, lessons: Lessons, fidelity: Fidelity, allowed: float, say: Say) -> Mixed:
    """The fewest layers in float with which at most `allowed` of the answers change (numbers: of their variance)."""
    with tempfile.TemporaryDirectory(prefix="tidegate-optimize-") as scratch:
        calibrated = calibrate(model, lessons, Path(scratch))
        search = _Search(calibrated, _answers(model, lessons), fidelity)
        errors = search.errors(say)
        ranked = [name for name, _ in errors]
        left = search.fewest(ranked, allowed, say)
        return Mixed(calibrated.quantized(left=left), tuple(left), tuple(errors))


def _answers(model: onnx.ModelProto, lessons: Lessons) -> dict[str, Array]:
    names = [output.name for output in model.graph.output]
    return dict(zip(names, answers(model, names, lessons), strict=True))


@dataclass(frozen=True, slots=True)
class _Search:
    calibrated: Calibrated
    expected: Mapping[str, Array]
    fidelity: Fidelity

    def errors(self, say: Say) -> list[tuple[str, float]]:
        """Per layer, how far the answers move when it alone is in 8 bits; the worst first."""
        layers = self.calibrated.layers()
        found = []
        for number, name in enumerate(layers, start=1):
            say(f"layer {number} of {len(layers)} alone in 8 bits")
            found.append((name, self.fidelity.error(self.expected, self._run(self.calibrated.quantized(only=[name])))))
        return sorted(found, key=lambda row: (-row[1], row[0]))

    def fewest(self, ranked: list[str], allowed: float, say: Say) -> list[str]:
        """How many of the worst layers must stay in float: found by halving, as more of them never hurts."""
        low, high = 0, len(ranked)
        while low < high:
            middle = (low + high) // 2
            say(f"the worst {middle} of {len(ranked)} layers in float")
            changed = self.fidelity.changed(self.expected, self._run(self.calibrated.quantized(left=ranked[:middle])))
            low, high = (low, middle) if changed <= allowed else (middle + 1, high)
        if low == len(ranked):
            raise Failed(
                "every layer in 8 bits changes more answers than --max-accuracy-drop allows",
                where="--int8 mixed",
                do="allow more, or use --fp16",
                reason="AccuracyLost",
            )
        return ranked[:low]

    def _run(self, model: onnx.ModelProto) -> dict[str, Array]:
        return _answers(model, self.calibrated.lessons)
