"""Joining two graphs into one: outputs of the first become inputs of the second.

`onnx.compose` refuses graphs whose names clash, and its prefixes would rename what clients and weight files know; here
only what clashes is renamed.  Operator sets are brought to one version, and what cannot be joined is refused with
both tensors in one sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx

from tidegate.author.derive.cutting import PRODUCER
from tidegate.author.describe import interface_of
from tidegate.author.difference import shape_of
from tidegate.author.graph import graphs, real_inputs
from tidegate.bundle.manifest import TensorSpec
from tidegate.errors import Invalid

JOINED = "the tensors to be joined"
FIRST = "base/"


def join(first: onnx.ModelProto, second: onnx.ModelProto, wires: Mapping[str, str], *, prefix: str) -> onnx.ModelProto:
    """One model of two; `wires` says from which output of `first` each of these inputs of `second` comes.

    Outputs of `first` that feed nothing stay outputs.  Names of `second` that `first` has too get `prefix`; inputs of
    the first and outputs of the second keep theirs, for clients know them.
    """
    dims = _require_fit(first, second, wires)
    first, second = _same_operators(_copy(first), _copy(second))
    wires = _make_room(first, second, wires)
    clashing = (_names(second) & _names(first)) - {value.name for value in second.graph.output}
    _rename(second, {**_free(clashing, prefix, _names(first) | _names(second)), **wires}, dims)
    fed = set(wires.values())
    graph = onnx.helper.make_graph(
        [*first.graph.node, *second.graph.node],
        second.graph.name or "joined",
        [*real_inputs(first.graph), *(value for value in real_inputs(second.graph) if value.name not in fed)],
        [*(value for value in first.graph.output if value.name not in fed), *second.graph.output],
        [*first.graph.initializer, *second.graph.initializer],
        sparse_initializer=[*first.graph.sparse_initializer, *second.graph.sparse_initializer],
    )
    return onnx.helper.make_model(
        graph,
        ir_version=max(first.ir_version, second.ir_version),
        opset_imports=_opsets(first, second),
        functions=_functions(first, second),
        producer_name=PRODUCER,
    )


def wires_by_name(outputs: Sequence[TensorSpec], inputs: Sequence[TensorSpec], where: str) -> dict[str, str]:
    """Which output feeds which input: those of one name, or the only output the only input."""
    names = {tensor.name for tensor in outputs}
    if same := {tensor.name: tensor.name for tensor in inputs if tensor.name in names}:
        return same
    if len(outputs) == len(inputs) == 1:
        return {inputs[0].name: outputs[0].name}
    raise Invalid(
        f"{_listed(outputs)} is given and {_listed(inputs)} is taken: nothing says which feeds which",
        where=where,
        do="give both sides the same names",
    )


def _listed(tensors: Sequence[TensorSpec]) -> str:
    return ", ".join(f"'{tensor.name}'" for tensor in tensors)[:200] or "nothing"


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


# What fits.


def _require_fit(first: onnx.ModelProto, second: onnx.ModelProto, wires: Mapping[str, str]) -> dict[str, str]:
    """Refuse types and shapes that cannot be joined; what the dynamic dimensions of `second` are called in `first`."""
    given = {tensor.name: tensor for tensor in interface_of(first).outputs}
    taken = {tensor.name: tensor for tensor in interface_of(second).inputs}
    dims: dict[str, str] = {}
    for entered, output in wires.items():
        one, other = given[output], taken[entered]
        if one.element_type != other.element_type or not _shapes_fit(one.shape, other.shape):
            raise Invalid(
                f"'{output}' is {shape_of(one)}, but '{entered}' takes {shape_of(other)}",
                where=JOINED,
                do="choose tensors of one type and shape, or put a model between that turns the one into the other",
            )
        pairs = zip(other.shape, one.shape, strict=True)
        dims |= {old: new for old, new in pairs if isinstance(old, str) and isinstance(new, str)}
    return dims


def _shapes_fit(one: Sequence[int | str], other: Sequence[int | str]) -> bool:
    if len(one) != len(other):
        return False
    return all(a == b for a, b in zip(one, other, strict=True) if isinstance(a, int) and isinstance(b, int))


# Operators.


def _same_operators(first: onnx.ModelProto, second: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Both at the newer version of ONNX' own operators."""
    one, other = _opset(first), _opset(second)
    if one and other and one < other:
        return _converted(first, other), second
    if one and other and other < one:
        return first, _converted(second, one)
    return first, second


def _opset(model: onnx.ModelProto) -> int:
    return next((entry.version for entry in model.opset_import if not entry.domain), 0)


def _converted(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    try:
        return onnx.version_converter.convert_version(model, version)
    except Exception as error:  # noqa: BLE001 - the converter raises whatever its C++ throws
        raise Invalid(
            f"operators of version {_opset(model)} cannot be brought to version {version}: {str(error)[:200]}",
            where="the models to be joined",
            do=f"export both with opset {version}",
        ) from None


def _opsets(first: onnx.ModelProto, second: onnx.ModelProto) -> list[onnx.OperatorSetIdProto]:
    """Of each domain the newer version: other domains so far only added to what an operator can do."""
    newest: dict[str, int] = {}
    for entry in (*first.opset_import, *second.opset_import):
        newest[entry.domain] = max(newest.get(entry.domain, 0), entry.version)
    return [onnx.helper.make_opsetid(domain, version) for domain, version in newest.items()]


def _functions(first: onnx.ModelProto, second: onnx.ModelProto) -> list[onnx.FunctionProto]:
    found = {(function.domain, function.name): function for function in first.functions}
    for function in second.functions:
        key = (function.domain, function.name)
        if found.setdefault(key, function).SerializeToString() != function.SerializeToString():
            raise Invalid(
                f"both define a function {'.'.join(key)}, each another one",
                where="the models to be joined",
                do="rename it in one of them",
            )
    return list(found.values())


# Names.


def _names(model: onnx.ModelProto) -> set[str]:
    """Every name of a tensor or node, those of inner graphs too."""
    found: set[str] = set()
    for graph in graphs(model.graph):
        found |= {part.name for part in (*graph.node, *graph.input, *graph.initializer)}
        found |= {sparse.values.name for sparse in graph.sparse_initializer}
        found |= {name for node in graph.node for name in (*node.input, *node.output)}
    return found - {""}


def _free(names: Iterable[str], prefix: str, taken: set[str]) -> dict[str, str]:
    """Names that nothing has, with the prefix as often as that takes: a graph joined before has some already."""
    found: dict[str, str] = {}
    taken = {*taken}
    for name in sorted(names):
        new = prefix + name
        while new in taken:
            new = prefix + new
        found[name] = new
        taken.add(new)
    return found


def _make_room(first: onnx.ModelProto, second: onnx.ModelProto, wires: Mapping[str, str]) -> dict[str, str]:
    """Rename in `first` what is called like an output of `second`; the wires as they are then."""
    outputs = {value.name for value in second.graph.output}
    inputs = {value.name for value in real_inputs(first.graph)}
    if both := sorted(outputs & inputs):
        raise Invalid(f"an input and an output would both be called '{both[0]}'", where=JOINED, do="rename one of them")
    kept = {value.name for value in first.graph.output} - set(wires.values())
    if both := sorted(outputs & kept):
        raise Invalid(f"two outputs would be called '{both[0]}'", where=JOINED, do="rename one of them")
    moved = _free(outputs & _names(first), FIRST, _names(first) | _names(second))
    _rename(first, moved, {})
    return {entered: moved.get(output, output) for entered, output in wires.items()}


def _rename(model: onnx.ModelProto, names: Mapping[str, str], dims: Mapping[str, str]) -> None:
    """Other names for tensors and nodes, and for the dynamic dimensions of inputs and outputs."""
    for graph in graphs(model.graph):
        for node in graph.node:
            node.name = names.get(node.name, node.name)
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        for named in _named(graph):
            named.name = names.get(named.name, named.name)
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = dims.get(dim.dim_param, dim.dim_param)


def _named(graph: onnx.GraphProto) -> Iterable[onnx.ValueInfoProto | onnx.TensorProto]:
    yield from (*graph.initializer, *graph.input, *graph.output, *graph.value_info)
    yield from (sparse.values for sparse in graph.sparse_initializer)
