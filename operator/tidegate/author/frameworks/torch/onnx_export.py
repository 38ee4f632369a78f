"""From torch to ONNX in a folder of its own: graph and weights apart, and nothing that tells of torch."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from tidegate.author.extras import need
from tidegate.author.frameworks import ConversionFailed
from tidegate.author.frameworks.torch.original import quiet
from tidegate.author.frameworks.torch.sentences import Step, failing_node, of_conversion, of_tracing, training_step
from tidegate.author.graph import graphs
from tidegate.author.weights import load_graph
from tidegate.errors import Invalid

OPSET = 20  # what the exporter writes without a conversion of versions, and ONNX Runtime 1.17 and later run
PACKAGES = ("torch", "onnxscript")
FILE, TRACED = "exported.onnx", "traced.onnx"

if TYPE_CHECKING:
    from tidegate.author.frameworks.torch.plan import Plan

Folder = tempfile.TemporaryDirectory[str]


def require() -> Any:
    """torch itself; raises MissingExtra."""
    torch = need("torch", extra="torch")
    need("onnxscript", extra="torch")
    return torch


def fresh_folder() -> Folder:
    """Where the exporter writes; gone when nothing refers to it any more."""
    return tempfile.TemporaryDirectory(prefix="tidegate-torch-")


def followed(call: Any, arguments: Mapping[str, Any], open_axes: Any, *, positional: bool, where: str) -> Any:
    """The program that torch.export sees in a module's forward(); `open_axes` are its dynamic shapes, by argument."""
    torch = require()
    args = tuple(arguments.values()) if positional else ()
    kwargs = {} if positional else dict(arguments)
    shapes = tuple(open_axes[name] for name in arguments) if positional else dict(open_axes)
    try:
        with quiet():
            return torch.export.export(call, args, kwargs, dynamic_shapes=(shapes,) if positional else shapes)
    except Exception as error:
        found = of_tracing(str(error))
        raise ConversionFailed(found.what, where=where, do=found.do) from error


def write(program: Any, folder: Folder, names: tuple[Sequence[str], Sequence[str]], where: str) -> onnx.ModelProto:
    """An exported program as ONNX in `folder`, its inputs and outputs by `names`.

    Raises ConversionFailed that names the operator and its layer, Invalid for layers that compute as in training.
    """
    torch = require()
    if step := training_step(steps_of(program)):
        raise Invalid(
            f"{step.operator.split('.')[1]} computes as in training{_of_layer(step.layer)}: its answers "
            "are drawn anew, or depend on the other rows",
            where=where,
            do="call model.eval(), and write F.dropout(x, training=self.training)",
            reason="TrainingMode",
        )
    path = Path(folder.name) / FILE
    try:
        with quiet():
            written = torch.onnx.export(
                program,
                (),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=list(names[0]),
                output_names=list(names[1]),
            )
            written.save(path, external_data=True)
    except Exception as error:
        found = of_conversion(str(error), _layer_of(program, str(error)))
        raise ConversionFailed(found.what, where=where, do=found.do) from error
    return clean(load_graph(path))


def write_traced(plan: Plan) -> onnx.ModelProto:
    """A module or TorchScript as ONNX by the older exporter, which records what it computes for the example."""
    torch = require()
    path = Path(plan.folder.name) / TRACED
    tensors = {name: torch.from_numpy(array.copy()) for name, array in plan.traced.items()}
    try:
        with quiet(), _hushed():
            torch.onnx.export(
                plan.module.call,
                tuple(tensors.values()) if plan.module.positional else (),
                str(path),
                kwargs=None if plan.module.positional else tensors,
                dynamo=False,
                opset_version=OPSET,
                input_names=list(tensors),
                output_names=list(plan.outputs),
                dynamic_axes={**plan.names, **plan.output_names},
            )
    except Exception as error:
        found = of_conversion(str(error), "")
        raise ConversionFailed(found.what, where=plan.where, do=found.do) from error
    return clean(load_graph(path))


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Without what the older exporter's C++ writes: whole graphs, past Python's own standard error."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:  # noqa: PTH123 - a descriptor is all that is wanted
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what the exporter notes about its run: paths of source files would make every machine's bytes differ."""
    del model.metadata_props[:]
    model.graph.doc_string = model.doc_string = ""
    for graph in graphs(model.graph):
        del graph.metadata_props[:]
        for part in (*graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
            del part.metadata_props[:]
            part.doc_string = ""
    return model


def steps_of(program: Any) -> list[Step]:
    """The calls of an exported program, in order."""
    nodes = (node for node in program.graph.nodes if node.op == "call_function")
    return [Step(str(node.target), node.args, _layer(node)) for node in nodes]


def _layer_of(program: Any, text: str) -> str:
    """The layer that the exporter failed in: its node is found again in the program as the exporter saw it."""
    failed = failing_node(text)
    if not failed:
        return ""
    with quiet():
        nodes = list(program.run_decompositions().graph.nodes)
    return next((_layer(node) for node in nodes if node.name == failed), "")


def _layer(node: Any) -> str:
    """The innermost module that made the call, as the user names it: `encoder.0.attention (Attention)`."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return ""
    path, kind = stack[-1]
    kind = kind if isinstance(kind, str) else kind.__name__
    return f"{path} ({kind.rpartition('.')[2]})".strip()


def _of_layer(layer: str) -> str:
    return f" in layer {layer}" if layer else ""
