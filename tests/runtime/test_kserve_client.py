"""The clients of KServe's own package, REST and gRPC, from an environment of their own, against our server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from benchmarks.peers.systems import installed
from onnx import TensorProto
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Running

CALLS = Path(__file__).with_name("kserve_calls.py")
ROWS = [[1.0, 2.0, 3.0, 4.0], [0.1, -7.25, 1e30, 3.0]]
TEXTS = [["low", "größer"], ["", "two words"]]
FORMS = ("v2 json", "v2 binary", "v2 binary request", "grpc typed", "grpc raw")
SECONDS = 120  # for the package to be imported, and two dozen calls
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the package may have to be installed first


def asked(server: Running, datatype: str, rows: Any) -> Any:
    """What each call of kserve_calls.py gave."""
    wish = {"http": server.http, "grpc": server.grpc, "model": "fraud", "datatype": datatype, "rows": rows}
    done = subprocess.run(
        [installed("kserve"), CALLS],
        input=json.dumps(wish),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def bundle(bundles: Callable[..., Path]) -> Path:
    return bundles(small.linear(), small.linear_samples())


@pytest.fixture(scope="module")
def told(bundle: Path, serve: Callable[..., Running], grpc_on: tuple[str, ...]) -> Any:
    return asked(serve(bundle, "--explain", "1", *grpc_on), "FP32", ROWS)


@pytest.fixture(scope="module")
def expected(bundle: Path) -> dict[str, Any]:
    """What ONNX Runtime itself answers to the rows."""
    session = onnxruntime.InferenceSession(bundle / "model.onnx")
    scores, label = session.run(["scores", "label"], {"x": np.array(ROWS, np.float32)})
    return {"scores": scores.tolist(), "label": label.tolist()}


def floats(values: Any) -> Any:
    """Numbers that came as JSON's doubles, as the model's own type has them."""
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    "call",
    [
        "v1 live",
        "v1 model ready",
        "v2 live",
        "v2 ready",
        "v2 model ready",
        "grpc live",
        "grpc ready",
        "grpc model ready",
    ],
)
def test_the_clients_find_server_and_model_alive_and_ready(told: Any, call: str) -> None:
    assert told[call] is True


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_in_every_form_has_the_numbers_of_a_raw_run(told: Any, expected: dict[str, Any], form: str) -> None:
    answer = told[form]

    assert (answer["id"], answer["model"]) == ("q1", "fraud")
    assert answer["outputs"]["label"] == expected["label"]
    assert np.array_equal(floats(answer["outputs"]["scores"]), floats(expected["scores"]))


def test_an_answer_of_v1_has_the_numbers_of_a_raw_run(told: Any, expected: dict[str, Any]) -> None:
    predictions = told["v1"]["predictions"]

    assert [one["label"] for one in predictions] == expected["label"]
    assert np.array_equal(floats([one["scores"] for one in predictions]), floats(expected["scores"]))


def test_an_explanation_of_v1_has_the_answer_that_it_explains(told: Any, expected: dict[str, Any]) -> None:
    found = told["v1 explain"]["explanations"]

    assert np.array_equal(floats(found["answer:scores"]), floats(expected["scores"][:1]))


@pytest.mark.parametrize("form", FORMS)
def test_texts_come_back_in_every_form(texts: Any, form: str) -> None:
    assert texts[form]["outputs"] == {"y": TEXTS}


@pytest.fixture(scope="module")
def texts(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Any:
    return asked(serve(bundles(small.cast(TensorProto.STRING)), "--grpc-port", "0"), "BYTES", TEXTS)


@pytest.mark.parametrize("call", ["v1 another model", "v2 another model", "v1 another model ready"])
def test_another_model_is_the_clients_status_error(told: Any, call: str) -> None:
    raised = told[call]

    assert (raised["raised"], raised["status"]) == ("HTTPStatusError", 404)
    assert raised["sentence"].startswith("model 'another' is not served here: this server has 'fraud', '404 Not Found'")


@pytest.mark.parametrize("call", ["grpc another model", "grpc another model ready"])
def test_another_model_is_an_error_of_the_call_over_grpc(told: Any, call: str) -> None:
    assert told[call] == {
        "raised": "RpcError",
        "status": "NOT_FOUND",
        "sentence": "model 'another' is not served here: this server has 'fraud'",
    }


def test_another_model_is_not_ready_as_v2_asks(told: Any) -> None:
    assert told["v2 another model ready"] is False


@pytest.mark.parametrize("protocol", ["v1", "v2", "grpc"])
def test_a_wrong_shape_is_the_clients_error_with_the_sentence_that_names_it(told: Any, protocol: str) -> None:
    raised = told[f"{protocol} wrong shape"]

    assert (raised["raised"], raised["status"]) in [("HTTPStatusError", 400), ("RpcError", "INVALID_ARGUMENT")]
    assert raised["sentence"].startswith("input 'x': ")
