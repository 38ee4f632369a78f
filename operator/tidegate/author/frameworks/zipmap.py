"""Outputs that ZipMap makes - for each row a dictionary from class to number - as the tensors that they are made of.

skl2onnx ends every classifier so unless it is told not to, and onnxmltools and CatBoost do likewise.  No request
carries dictionaries; the tensor holds the same numbers, a column per class, and the classes are kept beside it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import EncodeError
from onnx import helper

from tidegate.author.derive.cutting import takes
from tidegate.author.graph import real_inputs
from tidegate.author.session import Array, Runner, Tensors
from tidegate.bundle.errors import ModelInvalid

DOMAIN = "ai.onnx.ml"
NUMBERS, TEXTS = "classlabels_int64s", "classlabels_strings"
METADATA = "tidegate.classes."  # and the output: its classes as JSON, in the graph's metadata
TOLD = 10  # classes in a sentence
LABELS_BYTES = 64 << 10  # of labels.txt: what rollouts compare
MATRIX = 2  # dimensions
ONNX = ("", "ai.onnx")  # the domain of Identity
IDENTITY_OPSET = 7  # the oldest that ONNX Runtime stands by, so that no IR version is too old for it

Class = int | str
Dim = onnx.TensorShapeProto.Dimension


@dataclass(frozen=True, slots=True)
class Flattened:
    """An output that was a list of dictionaries, and the class of each column that it has now."""

    output: str
    classes: tuple[Class, ...]

    @property
    def told(self) -> str:
        """What was done, a sentence."""
        more = f", … {len(self.classes)} in all" if len(self.classes) > TOLD else ""
        return (
            f"the output '{self.output}' was a list of dictionaries (ZipMap) and is a tensor with a column per class: "
            f"{_shown(self.classes[:TOLD])}{more}"
        )

    def table(self, rows: Sequence[Mapping[Any, Any]]) -> Array:
        """The dictionaries as rows of the tensor, by class; raises ValueError for a row of other classes."""
        known = set(self.classes)
        for number, row in enumerate(rows, start=1):
            if row.keys() != known:
                raise ValueError(f"row {number} has the classes {_sorted(row)}, the model {_sorted(known)}")
        values = [[row[name] for name in self.classes] for row in rows]
        return np.array(values, dtype=np.float32).reshape(len(rows), len(self.classes))


@dataclass(frozen=True, slots=True)
class Dictionaries:
    """The model as it came, for comparison: what its dictionaries say of each class."""

    runner: Runner
    flattened: tuple[Flattened, ...]
    framework: str = "ONNX"

    def answers(self, inputs: Tensors) -> dict[str, Array]:
        """Its answers, the lists of dictionaries brought into the order of the columns."""
        given: Mapping[str, Any] = self.runner.run(inputs)  # lists, too
        return {**given, **{one.output: one.table(given[one.output]) for one in self.flattened}}


@dataclass(frozen=True, slots=True)
class _Chain:
    """The nodes of one output, by their place in the graph: the ZipMap, and the Identities behind it."""

    output: onnx.ValueInfoProto
    zipmap: int
    places: frozenset[int]


def flatten(model: onnx.ModelProto) -> tuple[Flattened, ...]:
    """Give every output of a ZipMap the ZipMap's own tensor, under its name; the classes go into the metadata.

    Raises ModelInvalid for a ZipMap that cannot be, and for one whose list other nodes use as well.
    """
    chains = list(_chains(model.graph))
    if not chains:
        return ()
    _require_nobody_else(model.graph, chains)
    found = tuple(Flattened(chain.output.name, _classes(model.graph, chain)) for chain in chains)
    shapes = _shapes(model)
    rows = _rows(model.graph)
    for chain, one in zip(chains, found, strict=True):
        given = model.graph.node[chain.zipmap].input[0]
        _require_columns(_shape_of(given, shapes, model.graph), one)
        chain.output.type.CopyFrom(helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [None, len(one.classes)]))
        chain.output.type.tensor_type.shape.dim[0].CopyFrom(rows)
        _keep(model, one)
    _replace(model.graph, chains)
    if not any(entry.domain in ONNX for entry in model.opset_import):  # CatBoost's models have the other one only
        model.opset_import.append(helper.make_opsetid("", IDENTITY_OPSET))
    return found


def has_zipmap(model: onnx.ModelProto) -> bool:
    """Whether there is anything to flatten."""
    return any(node.op_type == "ZipMap" and node.domain == DOMAIN for node in model.graph.node)


def label_lines(flattened: Sequence[Flattened]) -> tuple[tuple[str, ...], str]:
    """The lines of labels.txt; none, and a sentence that says why, where they cannot be told so."""
    if len({one.classes for one in flattened}) > 1:
        return (), "no labels.txt was written: the outputs have different classes"
    lines = tuple(map(str, flattened[0].classes))
    if any(line.splitlines() != [line] for line in lines):
        return (), "no labels.txt was written: a class is no line of text"
    if sum(len(line.encode()) + 1 for line in lines) > LABELS_BYTES:
        return (), f"no labels.txt was written: the names of the classes have more than {LABELS_BYTES:,} bytes"
    return lines, ""


def _shown(classes: Sequence[Class]) -> str:
    """As JSON writes them: numbers apart from texts, and nothing in a name that moves a terminal's cursor."""
    return json.dumps(list(classes))[1:-1]


def _sorted(classes: Any) -> str:
    names = sorted(classes, key=lambda name: (isinstance(name, str), name))
    return _shown(names[:TOLD])


def _chains(graph: onnx.GraphProto) -> Iterator[_Chain]:
    makers = {name: place for place, node in enumerate(graph.node) for name in node.output}
    for output in graph.output:
        places, name = set(), output.name
        while (place := makers.get(name)) is not None and place not in places:
            places.add(place)
            node = graph.node[place]
            if node.op_type == "ZipMap" and node.domain == DOMAIN:
                yield _Chain(output, place, frozenset(places))
            if node.op_type != "Identity" or not node.input:
                break
            name = node.input[0]


def _require_nobody_else(graph: onnx.GraphProto, chains: Sequence[_Chain]) -> None:
    """The list goes: nobody but the outputs may need it."""
    for chain in chains:
        of_any = {place for other in chains if other.zipmap == chain.zipmap for place in other.places}
        lists = {name for place in of_any for name in graph.node[place].output}
        for place, node in enumerate(graph.node):
            if place not in of_any and lists.intersection(takes(node)):
                raise ModelInvalid(
                    f"the output '{chain.output.name}' is a list of dictionaries (ZipMap) that {node.op_type} uses too",
                    where="model.onnx",
                    do="export the model with plain tensors (scikit-learn: zipmap off)",
                )


def _classes(graph: onnx.GraphProto, chain: _Chain) -> tuple[Class, ...]:
    node = graph.node[chain.zipmap]
    if len(node.input) != 1 or not node.input[0]:
        raise _cannot_be(chain.output.name, f"takes {len(list(filter(None, node.input)))} tensors, not one")
    attributes = {attribute.name: attribute for attribute in node.attribute}
    numbers = tuple(attributes[NUMBERS].ints) if NUMBERS in attributes else ()
    texts = tuple(attributes[TEXTS].strings) if TEXTS in attributes else ()
    if numbers and texts:
        raise _cannot_be(chain.output.name, "names its classes twice, by numbers and by texts")
    if not numbers and not texts:
        raise _cannot_be(chain.output.name, "names no classes: nobody knows what its columns are")
    try:
        classes: tuple[Class, ...] = numbers or tuple(text.decode("utf-8") for text in texts)
    except UnicodeDecodeError:
        raise _cannot_be(chain.output.name, "names a class that is no text in UTF-8") from None
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise _cannot_be(chain.output.name, f"names the class {_shown(twice[:1])} more than once")
    return classes


def _cannot_be(output: str, what: str) -> ModelInvalid:
    return ModelInvalid(
        f"the ZipMap of the output '{output}' {what}",
        where="model.onnx",
        do="export the model with plain tensors (scikit-learn: zipmap off)",
    )


def _shapes(model: onnx.ModelProto) -> dict[str, Sequence[Dim]]:
    """What is known of the shapes of tensors; nothing beyond what stands in a graph too large to be looked through."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except (onnx.shape_inference.InferenceError, EncodeError, ValueError, RuntimeError):
        graph = model.graph
    values = (*graph.value_info, *graph.input, *graph.output)
    kinds = {value.name: value.type.tensor_type for value in values}
    return {name: kind.shape.dim for name, kind in kinds.items() if kind.HasField("shape")}


def _shape_of(name: str, shapes: Mapping[str, Sequence[Dim]], graph: onnx.GraphProto) -> Sequence[Dim] | None:
    """Of a tensor, or of what Normalizer, which ONNX does not look through, makes it of."""
    makers = {node.output[0]: node for node in graph.node if node.op_type == "Normalizer" and node.output}
    if name in makers and name not in shapes and makers[name].input:
        name = makers[name].input[0]
    return shapes.get(name)


def _require_columns(shape: Sequence[Dim] | None, found: Flattened) -> None:
    if shape is None:
        return  # the comparison with the dictionaries will tell
    if len(shape) != MATRIX:
        raise _cannot_be(found.output, f"takes a tensor of rank {len(shape)}, not rows and columns")
    columns = shape[1]
    if columns.WhichOneof("value") == "dim_value" and columns.dim_value != len(found.classes):
        raise _cannot_be(found.output, f"names {len(found.classes)} classes for {columns.dim_value} columns")


def _rows(graph: onnx.GraphProto) -> Dim:
    """The first dimension, where every other tensor of the interface has the same one; else one without a name."""
    tensors = [value.type.tensor_type for value in (*real_inputs(graph), *graph.output) if _is_tensor(value)]
    firsts = [next(iter(kind.shape.dim), Dim()) for kind in tensors]
    alike = bool(firsts) and all(first == firsts[0] for first in firsts)
    return firsts[0] if alike else Dim()


def _is_tensor(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.WhichOneof("value") == "tensor_type")


def _keep(model: onnx.ModelProto, found: Flattened) -> None:
    key, classes = f"{METADATA}{found.output}", json.dumps(list(found.classes), ensure_ascii=False)
    others = [entry for entry in model.metadata_props if entry.key != key]
    del model.metadata_props[:]
    model.metadata_props.extend(others)
    model.metadata_props.add(key=key, value=classes)


def _replace(graph: onnx.GraphProto, chains: Sequence[_Chain]) -> None:
    """Each ZipMap by an Identity per output: its tensor may be an output itself, or used elsewhere."""
    gone = {place for chain in chains for place in chain.places}
    dropped = {name for place in gone for name in graph.node[place].output}
    kept: list[onnx.NodeProto] = []
    for place, node in enumerate(graph.node):
        if place not in gone:
            kept.append(node)
        outputs = [chain.output.name for chain in chains if chain.zipmap == place]
        kept += [helper.make_node("Identity", [node.input[0]], [name], name=f"{name}_columns") for name in outputs]
    del graph.node[:]
    graph.node.extend(kept)
    values = [value for value in graph.value_info if value.name not in dropped]
    del graph.value_info[:]
    graph.value_info.extend(values)
