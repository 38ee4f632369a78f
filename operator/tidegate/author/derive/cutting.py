"""Taking a component out of a graph: the nodes between named tensors, with the weights that they use.

`onnx.utils.Extractor` does not see what the bodies of If and Loop take from the graph around them; this does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx

from tidegate.author.graph import real_inputs
from tidegate.errors import Invalid

PRODUCER = "tidegate derive"


Values = Sequence[onnx.ValueInfoProto]


def cut(
    model: onnx.ModelProto, inputs: Values, outputs: Values, *, where: str, all_used: bool = False
) -> onnx.ModelProto:
    """What computes `outputs` from `inputs`, without the inputs that it does not need.

    Raises Invalid when they are not enough, and with `all_used` when one of them is of no use.
    """
    ends, starts = [value.name for value in outputs], {value.name for value in inputs}
    for name in ends:
        if name in starts:
            raise Invalid(f"'{name}' is an input and an output: nothing lies between", where=where)
    numbers, used = _reached(model.graph, ends, starts)
    _require_enough(model.graph, used, starts, where)
    if all_used and (idle := sorted(starts - used)):
        raise Invalid(f"'{idle[0]}' does not lead to any of the outputs", where=where, do="leave it away")
    graph = onnx.helper.make_graph(
        [model.graph.node[number] for number in sorted(numbers)],
        model.graph.name,
        [value for value in inputs if value.name in used],
        list(outputs),
        [tensor for tensor in model.graph.initializer if tensor.name in used - starts],
        sparse_initializer=[sparse for sparse in model.graph.sparse_initializer if sparse.values.name in used],
    )
    return onnx.helper.make_model(
        graph,
        ir_version=model.ir_version,
        opset_imports=list(model.opset_import),
        functions=list(model.functions),
        producer_name=PRODUCER,
    )


def _reached(graph: onnx.GraphProto, ends: Sequence[str], starts: set[str]) -> tuple[set[int], set[str]]:
    """The nodes that lead to `ends` without going behind `starts`, and every name that was met on the way."""
    makers = {name: number for number, node in enumerate(graph.node) for name in node.output if name}
    numbers: set[int] = set()
    met: set[str] = set()
    open_names = list(ends)
    while open_names:
        name = open_names.pop()
        if name in met:
            continue
        met.add(name)
        if name in makers and name not in starts and makers[name] not in numbers:
            numbers.add(makers[name])
            open_names += takes(graph.node[makers[name]])
    return numbers, met


def takes(node: onnx.NodeProto) -> Iterator[str]:
    """The names that a node needs from the graph that it stands in, those for its inner graphs too."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            yield from _free(inner)


def _free(graph: onnx.GraphProto) -> set[str]:
    """The names that a graph uses and does not make itself."""
    own = {value.name for value in (*graph.input, *graph.initializer)}
    own |= {name for node in graph.node for name in node.output}
    used = {name for node in graph.node for name in takes(node)} | {value.name for value in graph.output}
    return used - own


def _require_enough(graph: onnx.GraphProto, used: set[str], starts: set[str], where: str) -> None:
    given = [value.name for value in real_inputs(graph)]
    if missing := [name for name in given if name in used and name not in starts]:
        raise Invalid(
            f"the outputs also need the input '{missing[0]}'", where=where, do=f"add it: --inputs {missing[0]}"
        )
