"""What is sent: golden samples in rows, made-up inputs, and how they are written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.runtime import small_bundles as small

from tidegate.bench.requests import in_rows, made_up, of_bundle, request_bytes, request_of
from tidegate.bundle.element_types import ELEMENT_TYPES
from tidegate.bundle.golden import GoldenSample
from tidegate.bundle.manifest import read_bundle_dir
from tidegate.client import ModelAddress, TensorMetadata
from tidegate.client.tensors import datatype_of
from tidegate.errors import Invalid

MODEL = ModelAddress("http://x:1", "m", "v1")


def test_each_row_of_the_golden_samples_is_a_request(tmp_path: Path) -> None:
    bundle = read_bundle_dir(small.write_bundle(tmp_path / "b", small.linear(), small.linear_samples(2)))

    asked = of_bundle(bundle, rows=1)

    assert asked.said == "golden samples, 1 row a request"
    assert [inputs["x"].shape for inputs in asked.inputs] == [(1, 4)] * 6


def test_the_last_request_is_filled_up_with_the_first_rows() -> None:
    samples = [{"x": np.array([[1], [2], [3]])}, {"x": np.array([[4], [5]])}]

    assert [inputs["x"].ravel().tolist() for inputs in in_rows(samples, 2)] == [[1, 2], [3, 4], [5, 1]]
    assert [inputs["x"].ravel().tolist() for inputs in in_rows(samples, 7)] == [[1, 2, 3, 4, 5, 1, 2]]


def test_of_very_many_rows_some_are_sent() -> None:
    requests = in_rows([{"x": np.arange(100_000).reshape(-1, 1)}], 1)

    assert len(requests) == 64
    assert requests[-1]["x"].item() > 95_000


def test_samples_without_rows_are_sent_as_they_are(tmp_path: Path) -> None:
    graph = small.cast(1, [2])
    sample = GoldenSample({"x": np.zeros(2, np.float32)}, {"y": np.zeros(2, np.float32)})
    bundle = read_bundle_dir(small.write_bundle(tmp_path / "b", graph, [sample]))

    asked = of_bundle(bundle, rows=4)

    assert asked.said == "1 golden sample as they are"
    assert [inputs["x"].shape for inputs in asked.inputs] == [(2,)]


def test_inputs_are_made_up_where_there_are_no_samples(tmp_path: Path) -> None:
    bundle = read_bundle_dir(small.write_bundle(tmp_path / "b", small.linear()))

    asked = of_bundle(bundle, rows=3)

    assert asked.said == "made-up inputs, 3 rows a request"
    assert {inputs["x"].shape for inputs in asked.inputs} == {(3, 4)}
    assert asked.inputs[0]["x"].tolist() != asked.inputs[1]["x"].tolist()


@pytest.mark.parametrize("datatype", ELEMENT_TYPES)
def test_inputs_of_every_type_can_be_made_up_and_sent(datatype: str) -> None:
    asked = made_up([TensorMetadata("x", datatype, (-1, 3))], rows=2)

    for inputs in asked.inputs:
        assert (datatype_of(inputs["x"]), inputs["x"].shape) == (datatype, (2, 3))
        assert request_of(MODEL, inputs, "binary").body


def test_sizes_that_nobody_knows_are_told() -> None:
    assert (
        made_up([TensorMetadata("ids", "INT64", (-1, -1))], rows=1).said
        == "made-up inputs, 8 long where any length will do"
    )


def test_a_type_that_is_not_known_is_refused() -> None:
    with pytest.raises(Invalid, match="the type 'INT4' is not known"):
        made_up([TensorMetadata("x", "INT4", (1,))], rows=1)


def test_a_request_in_json_has_every_bit_of_its_numbers() -> None:
    inputs = {"x": np.array([[0.1, 2.0]], np.float32), "ids": np.array([2**60 + 1])}

    request = request_of(MODEL, inputs, "json")

    assert request.path == "/v2/models/m/versions/v1/infer"
    assert request.headers == {"content-type": "application/json"}
    assert json.loads(request.body)["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.1, 2.0]},
        {"name": "ids", "datatype": "INT64", "shape": [1], "data": [2**60 + 1]},
    ]


def test_types_that_json_has_no_words_for_are_refused_before_they_are_sent() -> None:
    with pytest.raises(Invalid, match="use --protocol binary"):
        request_of(MODEL, {"x": np.zeros(2, np.float16)}, "json")


def test_a_request_is_written_as_http_has_it() -> None:
    assert request_bytes("a:1", "/v2", b"hi", [("x", "y")]) == (
        b"POST /v2 HTTP/1.1\r\nhost: a:1\r\nx: y\r\ncontent-length: 2\r\n\r\nhi"
    )
