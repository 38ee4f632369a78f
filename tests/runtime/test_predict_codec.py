"""Whatever arrives at `/v1/models/NAME:predict`, the codec answers: tensors, or one error with a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.unit.runtime.fake_model import FakeModel

from tidegate.bundle.manifest import TensorSpec
from tidegate_runtime import json_reader
from tidegate_runtime.errors import RequestError
from tidegate_runtime.interfaces import Array
from tidegate_runtime.predict_codec import PredictCodec
from tidegate_runtime.signature import Signature


def codec(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> PredictCodec:
    model = replace(FakeModel(), inputs=inputs, outputs=outputs)
    return PredictCodec(Signature(model, most_rows=64), most_numbers=1 << 20)


NUMBERS = codec((TensorSpec("x", "FP32", ("N", 2)),), (TensorSpec("y", "FP32", ("N", "M")),))
SEVERAL = codec(
    (TensorSpec("x", "INT64", ("N",)), TensorSpec("text", "BYTES", ("N", "M"))),
    (TensorSpec("y", "FP32", ("N", 2)), TensorSpec("label", "INT64", ("N",))),
)

whole = st.integers(-(2**63), 2**64 - 1)
plain = st.none() | st.booleans() | whole | st.floats() | st.text(max_size=8)
b64 = st.fixed_dictionaries({"b64": st.sampled_from(["YQ==", "YQ", "!", "/w=="]) | plain})
values = st.recursive(plain | b64, lambda inner: st.lists(inner, max_size=3), max_leaves=8)
named = st.dictionaries(st.sampled_from(["x", "text", "other"]), values, max_size=3)
documents = st.fixed_dictionaries(
    {},
    optional={
        "instances": values | st.lists(named | values, max_size=3),
        "inputs": values | named,
        "signature_name": st.just("serving_default") | values,
        "parameters": values | st.dictionaries(st.just("nonfinite"), st.just("null") | values),
    },
)


def decode(codec: PredictCodec, document: Any) -> dict[str, Array] | None:
    """The feeds of a request, or None when it was refused with a sentence."""
    try:
        return codec.decode(json.dumps(document).encode()).feeds
    except RequestError as error:
        assert error.message
        assert error.status == 400
        return None


@pytest.mark.parametrize("codec", [NUMBERS, SEVERAL], ids=["one input", "several inputs"])
@settings(max_examples=400, deadline=None)
@given(document=documents)
@example(document={"instances": [{"x": 1, "text": ["a"]}]})
@example(document={"inputs": [[1, [2]]]})
def test_any_json_is_a_request_or_one_error_whichever_parser_reads_it(codec: PredictCodec, document: Any) -> None:
    native = decode(codec, document)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_reader, "native", None)
        other = decode(codec, document)
    assert (native is None) == (other is None)
    for name, array in (native or {}).items():
        assert other is not None
        np.testing.assert_array_equal(array, other[name])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(body: bytes) -> None:
    with pytest.raises(RequestError):
        NUMBERS.decode(body)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_request_with_damaged_bytes_is_refused_or_read(data: st.DataObject) -> None:
    body = bytearray(json.dumps({"instances": [{"x": [1.5, 2]}, {"x": [3, 4]}]}).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        NUMBERS.decode(bytes(body))
    except RequestError as error:
        assert error.status == 400


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=200, deadline=None)
@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 40), st.just(2)), elements=finite))
def test_rows_and_columns_are_the_same_tensor_and_the_same_answer(x: Array) -> None:
    by_row = NUMBERS.decode(json.dumps({"instances": x.tolist()}).encode())
    by_column = NUMBERS.decode(json.dumps({"inputs": x.tolist()}).encode())
    np.testing.assert_array_equal(by_row.feeds["x"], x)
    np.testing.assert_array_equal(by_column.feeds["x"], x)
    predictions = json.loads(NUMBERS.encode(by_row, [x]))["predictions"]
    assert predictions == json.loads(NUMBERS.encode(by_column, [x]))["outputs"]
    np.testing.assert_array_equal(np.array(predictions, np.float32), x)


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"instances": [{"x": [1, 2]}] * 5000}, "instances are 5000, above the limit of 64"),
        ({"instances": [{}] * 5000}, "instances are 5000, above the limit of 64"),
        ({"instances": [{"z": 1}] * 5000}, "instances are 5000, above the limit of 64"),
        ({"instances": [dict.fromkeys(map(str, range(5000)))]}, "input '0' is not one of the model's: 'x'"),
    ],
)
def test_what_is_far_too_much_is_refused(document: Any, sentence: str) -> None:
    with pytest.raises(RequestError) as refused:
        NUMBERS.decode(json.dumps(document).encode())
    assert refused.value.message == sentence


def test_rows_of_several_outputs_are_objects_in_the_order_of_the_interface() -> None:
    prediction = SEVERAL.decode(b'{"instances": [{"x": 1, "text": ["a"]}, {"x": 2, "text": ["b"]}]}')
    answer = SEVERAL.encode(prediction, [np.array([[1, 2], [3, 4]], np.float32), np.array([7, 8])])
    assert answer == b'{"predictions":[{"y":[1.0,2.0],"label":7},{"y":[3.0,4.0],"label":8}]}'


def test_an_optional_input_may_be_left_out_and_needs_its_name() -> None:
    optional = codec(
        (TensorSpec("x", "FP32", ("N", 2)), TensorSpec("bias", "FP32", (1,), optional=True)),
        (TensorSpec("y", "FP32", ("N", 2)),),
    )
    assert decode(optional, {"instances": [[1, 2]]}) is not None
    found = decode(optional, {"inputs": {"x": [[1, 2]], "bias": [3]}})
    assert found is not None
    assert found.keys() == {"x", "bias"}
    assert decode(optional, {"inputs": {"bias": [3]}}) is None
