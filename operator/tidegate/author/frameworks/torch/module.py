"""An nn.Module as ONNX: followed by torch.export with an example, its open dimensions tried on the module itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx

from tidegate.author.frameworks import Converted, Found
from tidegate.author.frameworks.torch import axes, example, onnx_export, weights
from tidegate.author.frameworks.torch.example import Arrays
from tidegate.author.frameworks.torch.original import Module
from tidegate.author.frameworks.torch.plan import Plan, planned
from tidegate.author.frameworks.torch.sentences import first_line
from tidegate.author.request import PackRequest
from tidegate.errors import Invalid

FLOATS = {"torch.float64": "float64", "torch.float16": "float16"}
NARROW = "torch.bfloat16"


def convert(found: Found, request: PackRequest) -> Converted:
    """The module that a factory built, with the weights of `request.weights` where they are given."""
    onnx_export.require()
    cures = weights.load(found.value, request.weights) if request.weights else ()
    return converted(Subject(found.value, found.example, request, type(found.value).__name__), cures)


@dataclass(frozen=True, slots=True)
class Subject:
    """A module to be converted, an example of its inputs if there is one, and what is asked for.

    `where` is what errors call it; `parameters` are those of its forward() unless that does not tell.
    """

    module: Any
    given: Any
    request: PackRequest
    where: str
    packages: tuple[str, ...] = onnx_export.PACKAGES
    parameters: example.Parameters | None = None


def converted(subject: Subject, cures: tuple[str, ...] = ()) -> Converted:
    """The module as ONNX; raises Invalid for training mode or a wrong example, ConversionFailed for the rest."""
    require_evaluation(subject.module, subject.where)
    module = subject.module.cpu()
    kind, cures = _float_type(module, cures)
    parameters = subject.parameters or example.parameters_of(module.forward)
    callable_ = Module(module, positional=parameters.open_ended)
    given = example.example_of(subject.given, parameters, subject.request)
    arrays = read_as(callable_, given, kind, subject.where)
    plan, notes = planned(callable_, arrays, subject.request, subject.where)
    model = _followed(plan)
    closed = [_opened(model, plan, fixed) for fixed in axes.closed_in(model, plan.names)]
    notes += filter(None, closed)
    return plan.finished(model, example.as_data(arrays, subject.request), subject.packages, (*cures, *notes))


def require_evaluation(module: Any, where: str) -> None:
    """Raise Invalid for a module, or any layer of it, in training mode."""
    training = [name for name, layer in module.named_modules() if layer.training]
    if training:
        which = "the model is" if training[0] == "" else f"its layer {training[0]} is"
        raise Invalid(
            f"{which} in training mode: dropout and batch norm then answer differently each time",
            where=where,
            do="call model.eval() before returning it",
            reason="TrainingMode",
        )


def _float_type(module: Any, cures: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The NumPy type of the module's floats; bfloat16, which NumPy and few CPUs know, is widened."""
    kinds = {str(tensor.dtype) for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point()}
    if NARROW in kinds:
        module.float()
        return "float32", (*cures, "its bfloat16 weights were widened to float32, which every CPU computes")
    return next((FLOATS[kind] for kind in kinds if kind in FLOATS and len(kinds) == 1), "float32"), cures


def read_as(module: Module, given: Arrays, float_type: str, where: str) -> Arrays:
    """The example in the types that the module takes; raises Invalid with torch's reason when it takes none."""
    reasons: list[str] = []
    for arrays in example.readings(given, float_type):
        try:
            module.run(example.for_tracing(arrays))
        except Invalid:
            raise
        except Exception as error:  # noqa: BLE001 - whatever forward() raises
            reasons.append(first_line(str(error)))
            continue
        return arrays
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in given.items())
    raise Invalid(f"the model does not take its example ({shapes}): {reasons[0]}", where=where, do=example.GIVE_ONE)


def _followed(plan: Plan) -> onnx.ModelProto:
    """By torch.export: it stops at whatever one graph cannot hold, where tracing would keep one of two branches."""
    import torch

    tensors = {name: torch.from_numpy(array.copy()) for name, array in plan.traced.items()}
    shapes = {name: dict.fromkeys(plan.names.get(name, {}), torch.export.Dim.AUTO) for name in plan.traced}
    program = onnx_export.followed(
        plan.module.call, tensors, shapes, positional=plan.module.positional, where=plan.where
    )
    return onnx_export.write(program, plan.folder, (tuple(plan.traced), plan.outputs), plan.where)


def _opened(model: onnx.ModelProto, plan: Plan, fixed: axes.Fixed) -> str:
    """Open a dimension again that torch.export closed, if the graph agrees with the module at another size of it.

    It closes the length of sequences at recurrent layers, whose ONNX forms take any.
    """
    if plan.agrees(model, fixed):
        return ""
    axes.fix(model, fixed)
    return f"dimension {fixed.axis} of '{fixed.input}' is always {fixed.size}: torch.export cannot leave it open"
