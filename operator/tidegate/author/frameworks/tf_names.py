"""What tf2onnx leaves in a graph: names that say nothing, an order of chance, operators that ONNX does not have.

Works on the ONNX graph alone, without TensorFlow.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any

import onnx
from onnx import helper

from tidegate.author.frameworks import ConversionFailed
from tidegate.author.graph import graphs, nodes, tidy

UNKNOWN = re.compile(r"unk__\d+")  # tf2onnx's name for a size that it does not know
COUNTED = re.compile(r"(_|_frozen)_\d+")  # what TensorFlow and tf2onnx count up, and in the order of sets
NUMBERED = re.compile(r"output_\d+")
MADE_UP = re.compile(r"(keras_tensor|input_layer|Identity|unnamed|(Stateful)?PartitionedCall|args)(_\d+)?")
DOMAINS = ("", "ai.onnx")
SHOWN = 3


def mend(model: onnx.ModelProto, framework: str, layers: Collection[str] = ()) -> tuple[str, ...]:
    """Replace what has a form in ONNX after all, and put it in order; gives a sentence per replacement.

    Raises ConversionFailed for operators that ONNX does not have, with the one of `layers` that each came from.
    """
    cures = _without_erfc(model)
    if missing := unsupported(model, layers):
        named = [f"{operator} in {where}" for operator, where in sorted(missing.items())]
        more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
        raise ConversionFailed(
            f"ONNX has no operator for {framework}'s {', '.join(named[:SHOWN])}{more}",
            where="the model",
            do="leave that out of the model and prepare its input before, or build it of other layers",
        )
    settle(model)
    _forget_sizes(model)
    return cures


def unsupported(model: onnx.ModelProto, layers: Collection[str] = ()) -> dict[str, str]:
    """Operators that were left as they are, each with where it occurs first."""
    found: dict[str, str] = {}
    for node in nodes(model):
        if node.domain in DOMAINS and not onnx.defs.has(node.op_type):
            found.setdefault(node.op_type, origin(node.name, layers))
    return found


def origin(node: str, layers: Collection[str] = ()) -> str:
    """The layer that a node belongs to: TensorFlow names nodes by the path of layers they are in."""
    for part in reversed(node.split("/")):
        found = next((layer for layer in layers if re.fullmatch(rf"{re.escape(layer)}(_\d+)?", part)), "")
        if found:
            return f"layer '{found}'"
    return f"node '{node}'"


def _without_erfc(model: onnx.ModelProto) -> tuple[str, ...]:
    """Exact GELU asks for erfc(x), which is 1 - erf(x)."""
    found = False
    for graph in graphs(model.graph):
        for index, node in reversed(list(enumerate(graph.node))):
            if node.op_type == "Erfc":
                found = True
                graph.node.remove(node)
                for new in reversed(_one_minus_erf(node)):
                    graph.node.insert(index, new)
    return ("GELU: erfc(x) is computed as 1 - erf(x)",) if found else ()


def _one_minus_erf(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """In 32 bits, for which alone ONNX Runtime has Erf."""
    (x,), (y,) = node.input, node.output
    one = helper.make_tensor("one", onnx.TensorProto.FLOAT, [], [1.0])
    steps: tuple[tuple[str, list[str], str, dict[str, Any]], ...] = (
        ("Cast", [x], "float", {"to": onnx.TensorProto.FLOAT}),
        ("Erf", [f"{y}_float"], "erf", {}),
        ("Constant", [], "one", {"value": one}),
        ("Sub", [f"{y}_one", f"{y}_erf"], "erfc", {}),
    )
    made = [
        helper.make_node(op, ins, [f"{y}_{out}"], name=f"{node.name}_{out}", **more) for op, ins, out, more in steps
    ]
    return [*made, helper.make_node("CastLike", [f"{y}_erfc", x], [y], name=node.name)]


def settle(model: onnx.ModelProto) -> None:
    """Put in order what tf2onnx leaves in an order of chance: the same model converted twice is the same bytes."""
    for node in nodes(model):
        if node.op_type == "CategoryMapper":
            _sort_table({attribute.name: attribute for attribute in node.attribute})
    for graph in list(graphs(model.graph)):
        _sort_nodes(graph)
    _renumber(model)
    for graph in graphs(model.graph):
        ordered = sorted(graph.initializer, key=lambda tensor: tensor.name)
        del graph.initializer[:]
        graph.initializer.extend(ordered)


def _sort_nodes(graph: onnx.GraphProto) -> None:
    """Every node after what it needs, and those that are ready together by their names."""
    made = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    needs = {index: {made[name] for name in _read(node) if name in made} for index, node in enumerate(graph.node)}
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    ordered: list[onnx.NodeProto] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=lambda index: str(graph.node[index].name))
        ordered += [graph.node[index] for index in ready]
        sorter.done(*ready)
    del graph.node[:]
    graph.node.extend(ordered)


def _read(node: onnx.NodeProto) -> list[str]:
    """The tensors that a node reads, those that the graphs inside it take from outside included."""
    inner = [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs)]
    return [*node.input, *(name for one in inner for graph in graphs(one) for n in graph.node for name in n.input)]


def _renumber(model: onnx.ModelProto) -> None:
    """Count names anew, in the order in which the graph uses them."""
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}
    known: dict[str, str] = {}

    def again(name: str) -> str:
        return COUNTED.sub(lambda match: known.setdefault(match[0], f"{match[1]}_{len(known)}"), name)

    names: dict[str, str] = {}
    for node in nodes(model):
        node.name = again(node.name)
        names |= {name: again(name) for name in (*node.input, *node.output) if name not in kept}
    rename(model, names)


def _sort_table(attributes: Mapping[str, onnx.AttributeProto]) -> None:
    words, numbers = attributes["cats_strings"].strings, attributes["cats_int64s"].ints
    rows = sorted(zip(words, numbers, strict=True))
    words[:], numbers[:] = [word for word, _ in rows], [number for _, number in rows]


def _forget_sizes(model: onnx.ModelProto) -> None:
    """Take away `unk__3` where a size is not known: a dimension without a name gets a readable one later."""
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if UNKNOWN.fullmatch(dim.dim_param):
                dim.Clear()
    tidy(model)
    for graph in graphs(model.graph):
        del graph.value_info[:]  # sizes of the same kind within; ONNX Runtime finds them itself


def rename(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Call tensors by other names, inputs and outputs included."""
    for graph in graphs(model.graph):
        for node in graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        for named in (*graph.initializer, *graph.input, *graph.output):
            named.name = names.get(named.name, named.name)


def plain_names(names: Sequence[str], stem: str) -> tuple[str, ...]:
    """Names for tensors: as they are, but `stem` (numbered if there are more) for those that say nothing."""
    if len(names) == 1:
        return (stem if NUMBERED.fullmatch(names[0]) else _own_name(names[0]) or stem,)
    cleaned = [_own_name(name) for name in names]
    counts: Mapping[str, int] = Counter(cleaned)
    return tuple(name if name and counts[name] == 1 else f"{stem}_{index}" for index, name in enumerate(cleaned))


def _own_name(name: str) -> str:
    """A name that somebody gave; "" for one that a framework made up, such as `keras_tensor_12` or `Identity_1`."""
    last = name.split(":", maxsplit=1)[0].rpartition("/")[2]
    return "" if MADE_UP.fullmatch(last) else last
