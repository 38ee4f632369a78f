"""What tf2onnx leaves in a graph, without TensorFlow: foreign operators, counted names, sizes that nobody knows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tidegate.author.frameworks import ConversionFailed
from tidegate.author.frameworks.tensorflow import graph_ends
from tidegate.author.frameworks.tf_names import mend, plain_names


def _model(*nodes: Any, element: int = TensorProto.FLOAT, opset: int = 18) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", element, ["unk__7", 3])
    y = helper.make_tensor_value_info("y", element, ["unk__8", "unk__9"])
    graph = helper.make_graph(list(nodes), "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def test_an_operator_that_onnx_does_not_have_is_named_with_its_layer() -> None:
    model = _model(helper.make_node("Igamma", ["x", "x"], ["y"], name="functional_3_1/odds_1/special/Igamma"))

    with pytest.raises(ConversionFailed, match=r"ONNX has no operator for Keras's Igamma in layer 'odds'"):
        mend(model, "Keras", ["odds", "hidden"])


def test_the_innermost_layer_is_named_where_models_hold_models() -> None:
    model = _model(helper.make_node("Igamma", ["x", "x"], ["y"], name="outer_1/inner/odds_2/Igamma"))

    with pytest.raises(ConversionFailed, match="in layer 'odds'"):
        mend(model, "Keras", ["inner", "odds"])


def test_of_many_operators_a_few_are_named() -> None:
    names = ("TensorListReserve", "TensorListSetItem", "TensorListStack", "StringSplitV2")
    model = _model(*(helper.make_node(name, ["x"], [name], name=f"loop/{name}") for name in names))

    with pytest.raises(ConversionFailed, match=r"StringSplitV2 in node .*TensorListSetItem in node .* and 1 more"):
        mend(model, "TensorFlow")


def test_without_layers_the_node_is_named() -> None:
    model = _model(helper.make_node("StringSplitV2", ["x"], ["y"], name="split/StringSplitV2"))

    with pytest.raises(ConversionFailed, match=r"TensorFlow's StringSplitV2 in node 'split/StringSplitV2'"):
        mend(model, "TensorFlow")


@pytest.mark.parametrize("element", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_erfc_of_an_exact_gelu_becomes_operators_that_onnx_has(element: int) -> None:
    model = _model(helper.make_node("Erfc", ["x"], ["y"], name="dense/Gelu/Erfc"), element=element)

    cures = mend(model, "Keras")

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.array([[-1.0, 0.0, 2.0]], onnx.helper.tensor_dtype_to_np_dtype(element))
    np.testing.assert_allclose(
        session.run(None, {"x": x})[0],
        [[1.8427008, 1.0, 0.0046777]],
        atol=1e-3 if element == TensorProto.FLOAT16 else 1e-6,
    )
    assert cures == ("GELU: erfc(x) is computed as 1 - erf(x)",)


def test_names_that_were_counted_up_before_make_no_other_bytes() -> None:
    def converted(first: int) -> bytes:
        hidden = f"while_cond_frozen_{first}/Less__{first + 1}:0"
        model = _model(
            helper.make_node("Neg", ["x"], [hidden], name=f"Neg__{first + 2}"),
            helper.make_node("Neg", [hidden], ["y"], name=f"Neg__{first + 4}"),
        )
        mend(model, "Keras")
        return bytes(model.SerializeToString(deterministic=True))

    assert converted(3) == converted(1234)


def test_names_of_inputs_are_not_counted_anew() -> None:
    model = _model(helper.make_node("Neg", ["x"], ["y"], name="n"))
    model.graph.input[0].name = model.graph.node[0].input[0] = "feature__3"

    mend(model, "Keras")

    assert model.graph.input[0].name == model.graph.node[0].input[0] == "feature__3"


def test_whatever_order_constants_were_folded_in_the_bytes_are_the_same() -> None:
    def converted(*numbers: int) -> bytes:
        names = [f"const_fold_opt__{number}" for number in numbers]
        model = _model(
            helper.make_node("Add", ["x", names[0]], ["hidden"], name="first"),
            helper.make_node("Add", ["hidden", names[1]], ["y"], name="second"),
        )
        values = dict(zip(names, (1.0, 2.0), strict=True))
        tensors = [numpy_helper.from_array(np.array(values[name], np.float32), name) for name in sorted(values)]
        model.graph.initializer.extend(tensors)
        model.graph.value_info.append(helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["unk__5", 3]))
        mend(model, "Keras")
        return bytes(model.SerializeToString(deterministic=True))

    assert converted(3, 12) == converted(12, 3) == converted(40, 41)


def test_nodes_that_could_stand_in_any_order_stand_in_that_of_their_names() -> None:
    def converted(*order: int) -> list[str]:
        branch = helper.make_graph([helper.make_node("Identity", ["b"], ["out"], name="inner")], "branch", [], [])
        found = [
            helper.make_node("Neg", ["x"], ["b"], name="second"),
            helper.make_node("Neg", ["x"], ["a"], name="first"),
            helper.make_node("If", ["a"], ["y"], name="If", then_branch=branch, else_branch=branch),
        ]
        model = _model(*(found[index] for index in order))
        mend(model, "Keras")
        return [node.name for node in model.graph.node]

    assert converted(0, 1, 2) == converted(1, 0, 2) == ["first", "second", "If"]


def test_the_words_of_a_table_are_in_their_own_order() -> None:
    def converted(words: list[str], numbers: list[int]) -> bytes:
        model = _model(
            helper.make_node(
                "CategoryMapper", ["x"], ["y"], domain="ai.onnx.ml", cats_strings=words, cats_int64s=numbers
            )
        )
        mend(model, "Keras")
        return bytes(model.SerializeToString(deterministic=True))

    assert converted(["red", "blue"], [1, 2]) == converted(["blue", "red"], [2, 1])


def test_the_first_dimension_is_the_batch_and_the_others_lose_their_number() -> None:
    model = _model(helper.make_node("Neg", ["x"], ["y"], name="n"))

    mend(model, "Keras")

    dims = [[dim.dim_param or dim.dim_value for dim in v.type.tensor_type.shape.dim] for v in _ends(model)]
    assert dims == [["batch", 3], ["batch", 0]]


def _ends(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    return [*model.graph.input, *model.graph.output]


@pytest.mark.parametrize(
    ("names", "plain"),
    [
        (["keras_tensor_12:0"], ("input",)),
        (["age:0", "input_layer_2"], ("age", "input_1")),
        (["tower/left:0", "tower/right:0"], ("left", "right")),
        (["a/x", "b/x"], ("input_0", "input_1")),
        (["args_0", ""], ("input_0", "input_1")),
        (["inputs"], ("inputs",)),
        (["output_0"], ("input",)),
        (["output_1", "output_0"], ("output_1", "output_0")),
    ],
)
def test_names_that_a_framework_made_up_become_plain(names: list[str], plain: tuple[str, ...]) -> None:
    assert plain_names(names, "input") == plain


def test_a_graph_is_fed_at_its_placeholders_and_answers_where_nobody_listens() -> None:
    nodes = [
        SimpleNamespace(name="x", op="Placeholder", input=[]),
        SimpleNamespace(name="w", op="Const", input=[]),
        SimpleNamespace(name="unused", op="Const", input=[]),
        SimpleNamespace(name="split", op="Split", input=["w", "x"]),
        SimpleNamespace(name="y", op="MatMul", input=["split:1", "w", "^init"]),
        SimpleNamespace(name="init", op="NoOp", input=[]),
    ]

    assert graph_ends(nodes) == (["x"], ["y"])
