"""Lists and maps that stay refused, and ZipMaps that cannot be: one sentence each, with the output and what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tests.unit.author.zipped import FLOAT, INT64, LABELS, WORDS, classifier, dictionaries, graph_of, tensor, zipmap

from tidegate.author.frameworks.zipmap import flatten
from tidegate.bundle.errors import ModelInvalid
from tidegate.errors import Failed


def branch(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with its ZipMap inside both branches of an If."""
    made = model.graph.node.pop()
    bodies = {}
    for name in ("then_branch", "else_branch"):
        inner = onnx.NodeProto()
        inner.CopyFrom(made)
        inner.output[0] = f"{name}_made"
        bodies[name] = helper.make_graph([inner], name, [], [dictionaries(f"{name}_made")])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    model.graph.node.append(helper.make_node("If", ["always"], ["chances"], **bodies))
    return model


def picked() -> onnx.ModelProto:
    """Whose output is a dictionary out of the list."""
    row = helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, []))
    first = numpy_helper.from_array(np.array(0), "first")
    nodes = [zipmap("x", "z", classlabels_int64s=[0, 1, 2, 3]), helper.make_node("SequenceAt", ["z", "first"], ["one"])]
    return graph_of(nodes, [helper.make_value_info("one", row)], [first])


def counted() -> onnx.ModelProto:
    """Whose list is an output, and is counted besides."""
    nodes = [zipmap("x", classlabels_int64s=[0, 1, 2, 3]), helper.make_node("SequenceLength", ["chances"], ["count"])]
    return graph_of(nodes, [dictionaries(), tensor("count", INT64, [])])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: branch(classifier()), r"the output 'chances' is a sequence, which no request can carry: .*zipmap off"),
        (picked, r"the output 'one' is a map, which no request can carry: .*zipmap off"),
        (
            counted,
            r"the output 'chances' is a list of dictionaries \(ZipMap\) that SequenceLength uses too: .*zipmap off",
        ),
        (
            lambda: graph_of(
                [helper.make_node("SplitToSequence", ["x"], ["y"])],
                [helper.make_tensor_sequence_value_info("y", FLOAT, None)],
            ),
            r"the output 'y' is a sequence, which no request can carry: .*ConcatFromSequence",
        ),
    ],
    ids=["inside a branch", "a map", "used further", "a sequence of tensors"],
)
def test_other_lists_and_maps_are_refused_with_what_to_do(packed: Any, saved: Any, make: Any, message: str) -> None:
    with pytest.raises(ModelInvalid, match=message):
        packed(saved(make()))


def without_classes() -> onnx.NodeProto:
    return helper.make_node("ZipMap", ["scores"], ["chances"], domain="ai.onnx.ml")


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (without_classes(), "names no classes"),
        (zipmap(**LABELS, **WORDS), "names its classes twice, by numbers and by texts"),
        (zipmap(classlabels_int64s=[4, 7, 4]), "names the class 4 more than once"),
        (zipmap(classlabels_strings=["a", "b", "a"]), 'names the class "a" more than once'),
        (zipmap(classlabels_strings=[b"a", b"\xff", b"c"]), "names a class that is no text"),
        (zipmap(classlabels_int64s=[4, 7]), "names 2 classes for 3 columns"),
        (helper.make_node("ZipMap", [], ["chances"], domain="ai.onnx.ml", **LABELS), "takes 0 tensors"),
    ],
)
def test_a_zipmap_that_cannot_be_is_refused_in_one_sentence(
    packed: Any, saved: Any, node: onnx.NodeProto, message: str
) -> None:
    with pytest.raises(ModelInvalid, match=f"the ZipMap of the output 'chances' {message}"):
        packed(saved(classifier(node)))


def test_scores_of_one_dimension_are_refused() -> None:
    shape = numpy_helper.from_array(np.array([-1]), "shape")
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["scores"]), zipmap()]

    with pytest.raises(ModelInvalid, match="takes a tensor of rank 1, not rows and columns"):
        flatten(graph_of(nodes, [dictionaries()], [shape]))


def test_columns_that_only_running_shows_to_be_others_end_in_one_sentence(packed: Any, saved: Any) -> None:
    scaler = helper.make_node("Scaler", ["x"], ["scores"], domain="ai.onnx.ml", offset=[0.0], scale=[2.0])
    model = graph_of([scaler, zipmap()], [dictionaries()])

    with pytest.raises(Failed, match=r"the ONNX model itself does not answer: .*number of classlabels\[3\]"):
        packed(saved(model))


def test_nodes_that_go_round_in_a_circle_end_in_one_sentence(packed: Any, saved: Any) -> None:
    round_and_round = [helper.make_node("Identity", [a], [b]) for a, b in (("y", "chances"), ("chances", "y"))]

    with pytest.raises(ModelInvalid):
        packed(saved(classifier(*round_and_round)))
