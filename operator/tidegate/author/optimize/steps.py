"""What can be done to a model, in the order in which it is done when several are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx

from tidegate.author.graph import is_quantized
from tidegate.author.optimize import half, prune, quantize, simplify
from tidegate.author.optimize.distill import distilled
from tidegate.author.optimize.mixed import mixed
from tidegate.author.optimize.parent import Parent
from tidegate.author.optimize.quality import Fidelity
from tidegate.author.optimize.request import OptimizeRequest
from tidegate.author.optimize.rows import Lessons
from tidegate.errors import Failed

ENOUGH = 2048  # rows to find ranges by, or to fit a layer to; all that lies between two layers is held in memory


@dataclass(frozen=True, slots=True)
class Work:
    """What a step has: the model as it is by now, the rows it may learn from, and how near to the parent counts."""

    parent: Parent
    model: onnx.ModelProto
    lessons: Lessons
    fidelity: Fidelity
    request: OptimizeRequest
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Made:
    """The changed model, what to tell, and what goes into the bundle's report."""

    model: onnx.ModelProto
    notes: tuple[str, ...] = ()
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """`done` is the word for the lineage."""

    done: str
    wanted: Callable[[OptimizeRequest], str]  # the row's name in the table; empty: not asked for
    make: Callable[[Work], Made]


def _distil(work: Work) -> Made:
    metric = work.fidelity.metric
    return Made(distilled(work.parent.interface, work.model, work.lessons, work.request, metric))


def _prune(work: Work) -> Made:
    found = prune.pruned(work.model, work.lessons.fewer(ENOUGH), work.request.prune, work.request.seed)
    notes = tuple(f"{name}: {stay} of {channels} channels stay" for name, channels, stay in found.layers)
    return Made(found.model, notes, {"channels": {name: f"{stay} of {all_}" for name, all_, stay in found.layers}})


def _simplify(work: Work) -> Made:
    changed = simplify.simplified(work.model)
    before, after = len(work.model.graph.node), len(changed.graph.node)
    return Made(changed, (f"{after} of {before} nodes are left",))


def _halve(work: Work) -> Made:
    return Made(half.halved(work.model))


def _quantize_dynamic(work: Work) -> Made:
    return Made(quantize.dynamic(work.model))


def _quantize_static(work: Work) -> Made:
    return Made(quantize.static(work.model, work.lessons.fewer(ENOUGH)))


def _quantize_mixed(work: Work) -> Made:
    found = mixed(work.model, work.lessons.fewer(ENOUGH), work.fidelity, work.request.max_drop, work.say)
    kept = f"in float: {', '.join(found.left) or 'nothing'}"
    alone = [
        f"{name} alone in 8 bits moves the answers by {error:.2g} of their variance" for name, error in found.errors
    ]
    report = {"float": list(found.left), "errors": {name: f"{error:.3g}" for name, error in found.errors}}
    return Made(found.model, (kept, *alone), report)


def _precision(name: str, done: str, make: Callable[[Work], Made]) -> Step:
    return Step(done, lambda request: name.replace("-", " ") if request.precision == name else "", make)


STEPS: tuple[Step, ...] = (
    Step("distilled", lambda request: "student" if request.student else "", _distil),
    Step("pruned", lambda request: f"pruned {request.prune:.0%}" if request.prune else "", _prune),
    Step("simplified", lambda request: "graph" if request.graph else "", _simplify),
    _precision("fp16", "fp16", _halve),
    _precision("int8-dynamic", "quantized", _quantize_dynamic),
    _precision("int8-static", "quantized", _quantize_static),
    _precision("int8-mixed", "quantized", _quantize_mixed),
)


def steps_of(request: OptimizeRequest) -> list[tuple[str, Step]]:
    """The steps asked for, each with its row's name."""
    return [(name, step) for step in STEPS if (name := step.wanted(request))]


def require_float(model: onnx.ModelProto, request: OptimizeRequest) -> None:
    """A quantized parent can only have its graph tidied: everything else would round what was rounded."""
    if is_quantized(model) and any(step.done != "simplified" for _, step in steps_of(request)):
        raise Failed(
            "it is quantized already, and would lose accuracy twice",
            where="the parent",
            do="optimize the bundle that it was made from: tidegate inspect shows its digest",
            reason="NotOptimizable",
        )
