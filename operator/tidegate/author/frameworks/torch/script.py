"""TorchScript (.pt): a compiled module that knows neither the sizes nor the types of its inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tidegate.author.frameworks import Converted, Found
from tidegate.author.frameworks.torch import example, onnx_export
from tidegate.author.frameworks.torch.module import read_as
from tidegate.author.frameworks.torch.original import Module, quiet
from tidegate.author.frameworks.torch.plan import planned
from tidegate.author.frameworks.torch.sentences import first_line
from tidegate.author.request import PackRequest
from tidegate.errors import Invalid


def convert(found: Found, request: PackRequest) -> Converted:
    """The module in a file, or one that a factory gave; its inputs come from --data or --interface."""
    onnx_export.require()
    script = read(found.path) if found.path else found.value
    where = str(found.path or "the TorchScript module")
    if getattr(script, "training", False):  # a frozen module has no mode any more
        raise Invalid(
            "it was saved in training mode: dropout and batch norm then answer differently each time",
            where=where,
            do="call model.eval() before torch.jit.script or torch.jit.trace",
            reason="TrainingMode",
        )
    module = Module(script, positional=True)
    parameters = _parameters(script)
    given = example.example_of(found.example, parameters, request)
    example.require_no_gap(given, parameters, where)
    arrays = read_as(module, given, "float32", where)
    plan, notes = planned(module, arrays, request, where)
    model = onnx_export.write_traced(plan)
    return plan.finished(model, example.as_data(arrays, request), onnx_export.PACKAGES, tuple(notes))


def read(path: Path) -> Any:
    """The module in `path`; raises Invalid with torch's reason."""
    torch = onnx_export.require()
    try:
        with quiet():
            return torch.jit.load(path, map_location="cpu")
    except Exception as error:  # noqa: BLE001 - C++ errors come as several types
        raise Invalid(
            f"torch {torch.__version__} cannot read it: {first_line(str(error))}",
            where=str(path),
            do="save it again: torch.jit.save(torch.jit.script(model), FILE)",
        ) from None


def _parameters(script: Any) -> example.Parameters:
    """What forward() takes."""
    arguments = script.forward.schema.arguments[1:]
    return example.Parameters(
        tuple(argument.name for argument in arguments if not argument.has_default_value()),
        tuple(argument.name for argument in arguments if argument.has_default_value()),
    )
