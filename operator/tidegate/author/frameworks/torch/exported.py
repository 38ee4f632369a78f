"""A program that torch.export saved (.pt2): its inputs, its open dimensions and an example are in it.

torch reads one by unpickling its example and constants, loading libraries of machine code that lie in it, and handing
its expressions to Python's eval(): reading it runs whatever its writer put into it, as with a pickle.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from tidegate.author.frameworks import Converted, Found
from tidegate.author.frameworks.torch import axes, example, onnx_export
from tidegate.author.frameworks.torch.original import Module, quiet
from tidegate.author.frameworks.torch.plan import Plan
from tidegate.author.frameworks.torch.sentences import first_line
from tidegate.author.graph import real_inputs
from tidegate.author.pickles import PickleRefused
from tidegate.author.request import PackRequest
from tidegate.author.zips import DAMAGED_ZIP
from tidegate.errors import Invalid

EXAMPLES = "save it with its example: torch.export.save(torch.export.export(model, args), FILE)"


def convert(found: Found, request: PackRequest) -> Converted:
    """The program in a file, if that is trusted, or one that a factory gave."""
    if found.path and not request.trust_pickle:
        raise PickleRefused(
            "this is an exported program, with pickles in it: reading it runs whatever code its writer put into it",
            where=str(found.path),
            do="if you made it yourself, say --trust-pickle; better, name the function that builds it: model.py:build",
        )
    onnx_export.require()
    program = read(found.path) if found.path else found.value
    where = str(found.path or "the program")
    inputs = tuple(program.graph_signature.user_inputs)
    module = Module(_callable(program), positional=True)
    traced = _example(program, inputs, where)
    outputs = tuple(axes.unnamed_outputs(module.run(traced), inputs))
    folder = onnx_export.fresh_folder()
    model = onnx_export.write(program, folder, (inputs, outputs), where)
    names = _open(model, traced, request)
    plan = Plan(module, traced, names, outputs, {}, folder, where)
    return plan.finished(model, example.as_data(traced, request), onnx_export.PACKAGES, _notes(model))


def read(path: Path) -> Any:
    """The program in `path`; raises Invalid that names the torch it was saved by when this one cannot read it."""
    torch = onnx_export.require()
    try:
        with quiet():
            return torch.export.load(path)
    except Exception as error:  # noqa: BLE001 - zip, JSON and schema errors have no common base
        raise _unreadable(path, str(error)) from None


def _unreadable(path: Path, reason: str) -> Invalid:
    import torch

    by = saved_by(path)
    if by and by != torch.__version__:
        return Invalid(
            f"it was saved by torch {by}, which torch {torch.__version__} cannot read",
            where=str(path),
            do="save it again with this version, or install the one it was saved by",
            reason="VersionMismatch",
        )
    return Invalid(f"torch cannot read it: {first_line(reason)}", where=str(path), do="save it again")


def saved_by(path: Path) -> str:
    """The version of torch that saved this program; "" when it does not say.  Needs no torch."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next((name for name in archive.namelist() if name.endswith("models/model.json")), "")
            told = json.loads(archive.read(name))
    except DAMAGED_ZIP:
        return ""
    return str(told.get("torch_version", "")) if isinstance(told, dict) else ""


def _callable(program: Any) -> Callable[..., Any]:
    """The program as a function of its tensors in their order, whatever its arguments are called or nested in."""
    from torch.utils import _pytree

    module, spec = program.module(), program.call_spec.in_spec

    def call(*tensors: Any) -> Any:
        args, kwargs = _pytree.tree_unflatten(list(tensors), spec)
        return module(*args, **kwargs)

    return call


def _example(program: Any, inputs: tuple[str, ...], where: str) -> example.Arrays:
    """What the program was exported with, by input; integers and other constants have been built into it."""
    if program.example_inputs is None:
        raise Invalid("there is no example of its inputs in it", where=where, do=EXAMPLES)
    from torch.utils import _pytree

    leaves = _pytree.tree_leaves(program.example_inputs)
    if len(leaves) != len(inputs) or not all(hasattr(leaf, "detach") for leaf in leaves):
        raise Invalid("an input of it is no tensor", where=where, do="export a forward() that takes tensors only")
    return {name: example.as_array(leaf) for name, leaf in zip(inputs, leaves, strict=True)}


def _open(model: onnx.ModelProto, traced: example.Arrays, request: PackRequest) -> axes.Names:
    """Names for the dimensions that the program leaves open: it was decided when it was exported."""
    names = axes.open_axes(axes.shapes_of(traced), request.interface)
    dims = {value.name: value.type.tensor_type.shape.dim for value in real_inputs(model.graph)}
    return {
        name: {axis: called for axis, called in open_.items() if dims[name][axis].WhichOneof("value") != "dim_value"}
        for name, open_ in names.items()
    }


def _notes(model: onnx.ModelProto) -> tuple[str, ...]:
    for value in real_inputs(model.graph):
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].WhichOneof("value") == "dim_value":
            return (
                f"the first dimension of '{value.name}' is always {dims[0].dim_value}: it was exported so; "
                "torch.export.export(…, dynamic_shapes=…) leaves it open",
            )
    return ()
