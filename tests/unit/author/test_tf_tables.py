"""TensorFlow's tables as LabelEncoders, without TensorFlow: what ONNX Runtime finds in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tidegate.author.frameworks.tf_tables import encoder

WORDS = np.array([b"red", b"blue", b"gr\xc3\xbcn"], object)
TYPES = {"int64": TensorProto.INT64, "string": TensorProto.STRING, "float": TensorProto.FLOAT}


def looked_up(attributes: dict[str, Any], keys: Any) -> list[Any]:
    """By a session over the one operator."""
    kinds = {name.partition("_")[0]: TYPES[name.partition("_")[2].removesuffix("s")] for name in attributes}
    node = helper.make_node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", **attributes)
    ends = [
        helper.make_tensor_value_info(name, kinds[kind], ["batch"]) for name, kind in (("x", "keys"), ("y", "values"))
    ]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 2)]
    model = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:]), opset_imports=opsets, ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[Any] = session.run(None, {"x": keys})[0].tolist()
    return found


@pytest.mark.parametrize(
    ("values", "default", "found"),
    [
        (np.array([5, 6, 7]), 0, [6, 0, 7]),
        (np.array([5, 6, 7], np.int32), -1, [6, -1, 7]),
        (np.array([0.5, 1.5, 2.5], np.float32), 9.0, [1.5, 9.0, 2.5]),
        (WORDS, b"?", ["blue", "?", "gr\u00fcn"]),
    ],
)
def test_integers_find_what_the_table_has_for_them(values: Any, default: Any, found: list[Any]) -> None:
    attributes = encoder(np.array([30, -7, 2**62]), values, default)

    assert attributes is not None
    assert looked_up(attributes, np.array([-7, 8, 2**62])) == found


def test_texts_find_texts() -> None:
    attributes = encoder(WORDS, WORDS[::-1], b"?")

    assert attributes is not None
    assert looked_up(attributes, np.array(["red", "black"], object)) == ["gr\u00fcn", "?"]


def test_in_whatever_order_tensorflow_gives_a_table_it_is_the_same() -> None:
    keys, values = np.array([3, 7, 5]), np.array([1, 2, 3])

    assert encoder(keys, values, 0) == encoder(keys[::-1], values[::-1], 0)


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        (np.array([1]), np.array([0.1])),  # of 64 bits
        (np.array([1]), np.array([True])),
        (np.array([0.5], np.float32), np.array([1])),
        (np.array([], np.int64), np.array([], np.int64)),
    ],
)
def test_a_table_that_the_operator_cannot_hold_has_no_such_form(keys: Any, values: Any) -> None:
    assert encoder(keys, values, 0) is None
