"""The classification extension: an output's highest values with their labels, as the public client asks for them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from onnx import TensorProto
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Answer, Running

ROWS = [[1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 0.0, 0.0]]  # scores 6 7 8 and 0.0 0.1 0.2
LABELS = "low\nmiddle\nhigh, and more: naïve\n"


@pytest.fixture(scope="module")
def labelled(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    return serve(bundles(small.linear(), labels=LABELS))


def ask(server: Running, classes: Any, name: str = "scores", **more: Any) -> Answer:
    tensor = {"name": "x", "shape": [2, 4], "datatype": "FP32", "data": ROWS}
    wanted = {"name": name, "parameters": {"classification": classes, **more}}
    return server.infer({"inputs": [tensor], "outputs": [wanted]})


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_the_public_client_gets_the_highest_values_of_each_row_with_their_labels(
    labelled: Running, binary: bool
) -> None:
    tensor = triton.InferInput("x", [2, 4], "FP32")
    tensor.set_data_from_numpy(np.array(ROWS, np.float32))
    wanted = triton.InferRequestedOutput("scores", binary_data=binary, class_count=2)
    client = triton.InferenceServerClient(f"127.0.0.1:{labelled.http}")
    try:
        found = client.infer("fraud", [tensor], outputs=[wanted]).as_numpy("scores")
    finally:
        client.close()
    texts = [[text.decode() if isinstance(text, bytes) else text for text in row] for row in found]
    assert texts == [["8.0:2:high, and more: naïve", "7.0:1:middle"], ["0.2:2:high, and more: naïve", "0.1:1:middle"]]


def test_without_labels_there_are_values_and_indices(fraud: Running) -> None:
    output = ask(fraud, 1).json["outputs"][0]
    assert output == {"name": "scores", "datatype": "BYTES", "shape": [2, 1], "data": ["8.0:2", "0.2:2"]}


def test_labels_that_do_not_name_every_class_are_left_out(
    bundles: Callable[..., Path], serve: Callable[..., Running]
) -> None:
    server = serve(bundles(small.linear(), labels="one\ntwo\n"))
    assert ask(server, 1).json["outputs"][0]["data"] == ["8.0:2", "0.2:2"]


def test_more_classes_than_there_are_gives_all_of_them(labelled: Running) -> None:
    output = ask(labelled, 99).json["outputs"][0]
    assert output["shape"] == [2, 3]
    assert [text.split(":")[1] for text in output["data"]] == ["2", "1", "0"] * 2


def test_one_output_may_be_classified_and_asked_for_as_it_is_in_the_same_request(labelled: Running) -> None:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": ROWS[0]}
    outputs = [{"name": "scores", "parameters": {"classification": 1}}, {"name": "scores"}]
    found = labelled.infer({"inputs": [tensor], "outputs": outputs}).json["outputs"]
    assert [output["data"] for output in found] == [["8.0:2:high, and more: naïve"], [6.0, 7.0, 8.0]]


@pytest.mark.parametrize("classes", [0, -1, 1.5, "2", True])
def test_a_number_of_classes_that_is_none_is_refused(labelled: Running, classes: Any) -> None:
    answer = ask(labelled, classes)
    assert answer.status == 400
    assert answer.error == "output 'scores': classification must be a whole number of classes, at least 1"


def echoed(server: Running, datatype: str, raw: bytes, wanted: dict[str, Any]) -> Answer:
    """One row of two values of a type, sent as they are, answered as `wanted`."""
    tensor = {"name": "x", "shape": [1, 2], "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}
    text = json.dumps({"inputs": [tensor], "outputs": [{"name": "y", "parameters": wanted}]}).encode()
    return server.infer(text + raw, headers={"inference-header-content-length": str(len(text))})


def test_half_floats_can_be_classified_even_over_json(
    bundles: Callable[..., Path], serve: Callable[..., Running]
) -> None:
    server = serve(bundles(small.cast(TensorProto.FLOAT16)))
    answer = echoed(server, "FP16", np.array([0.5, 1.5], np.float16).tobytes(), {"classification": 2})
    assert answer.json["outputs"][0]["data"] == ["1.5:1", "0.5:0"]


@pytest.mark.parametrize(
    ("element_type", "datatype", "raw"),
    [
        (TensorProto.BOOL, "BOOL", b"\0\1"),
        (TensorProto.STRING, "BYTES", struct.pack("<II", 0, 0)),
        (TensorProto.BFLOAT16, "BF16", b"\0\0\0\0"),
    ],
)
def test_what_has_no_order_is_not_classified(
    bundles: Callable[..., Path], serve: Callable[..., Running], element_type: int, datatype: str, raw: bytes
) -> None:
    server = serve(bundles(small.cast(element_type)))
    answer = echoed(server, datatype, raw, {"classification": 1})
    assert (answer.status, answer.error) == (400, f"output 'y' is {datatype}: only numbers can be classified")
