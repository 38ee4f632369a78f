"""TensorFlow Serving's REST API, and KServe's v1 protocol, as their clients see them.

The cases in `corpus/tfserving` are what TensorFlow Serving's documentation and its own tests say of a request and its
answer; where this server differs (NaN, bytes that are no text), docs/protocols.md says so.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from tests.runtime import small_bundles as small
from tests.runtime.conftest import DEADLINE, Answer, Running
from tests.runtime.predict_models import MODELS

CORPUS = Path(__file__).parent / "corpus/tfserving"
ROW = [1.0, 2.0, 3.0, 4.0]
Server = Callable[[str], Running]


def cases(name: str) -> list[Any]:
    """Each case of a file as a parameter named by what it is about."""
    found = json.loads((CORPUS / name).read_text(encoding="utf-8"))
    return [pytest.param(case, id=case["case"]) for case in found]


@pytest.fixture(scope="module")
def server_of(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Server:
    """A server of the model of this name; the same one for all who ask."""
    running: dict[str, Running] = {}

    def give(name: str) -> Running:
        if name not in running:
            running[name] = serve(bundles(MODELS[name], name=name))
        return running[name]

    return give


def predict(server: Running, request: Any, model: str = "fraud") -> Answer:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    return server.ask("POST", f"/v1/models/{model}:predict", body)


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("case", cases("predict.json"))
def test_a_request_of_tensorflow_serving_gets_its_answer(server_of: Server, case: dict[str, Any], size: str) -> None:
    request = case["request"] | ({"filler": "x" * 4096} if size == "large" else {})
    answer = predict(server_of(case["model"]), request, case["model"])
    assert (answer.status, answer.json) == (200, case["answer"])


@pytest.mark.parametrize("case", cases("refused.json"))
def test_what_tensorflow_serving_refuses_is_refused_with_its_status(server_of: Server, case: dict[str, Any]) -> None:
    request = {"instances": [1.0] * case["rows"]} if "rows" in case else case.get("request")
    body = case["body"].encode() if "body" in case else json.dumps(request).encode()
    answer = predict(server_of(case["model"]), body, case["model"])
    assert answer.status == case["status"]
    assert case["error"] in answer.error


def test_a_large_request_with_a_list_too_deep_is_refused(fraud: Running) -> None:
    answer = predict(fraud, {"instances": [*[ROW] * 500, [1.0, 2.0, 3.0, [4.0]]]})
    assert (answer.status, answer.error) == (400, "input 'x': holds lists where FP32 values are expected")


@pytest.mark.parametrize("form", ["rows", "named rows", "column", "named column"])
def test_all_forms_give_what_the_other_protocol_gives(fraud: Running, form: str) -> None:
    x = np.random.default_rng(0).standard_normal((700, 4)).astype(np.float32).tolist()
    tensor = {"name": "x", "datatype": "FP32", "shape": [700, 4], "data": x}
    scores, label = (one["data"] for one in fraud.infer({"inputs": [tensor]}).json["outputs"])
    requests = {
        "rows": {"instances": x},
        "named rows": {"instances": [{"x": row} for row in x]},
        "column": {"inputs": x},
        "named column": {"inputs": {"x": x}},
    }
    answer = predict(fraud, requests[form]).json
    if "rows" in form:
        rows = [scores[start : start + 3] for start in range(0, len(scores), 3)]
        assert answer["predictions"] == [{"scores": row, "label": one} for row, one in zip(rows, label, strict=True)]
    else:
        assert np.ravel(answer["outputs"]["scores"]).tolist() == scores
        assert answer["outputs"]["label"] == label


@pytest.mark.parametrize(
    ("element_type", "values"),
    [
        (TensorProto.INT8, [-128, 127]),
        (TensorProto.UINT8, [0, 255]),
        (TensorProto.INT16, [-32768, 32767]),
        (TensorProto.UINT16, [0, 65535]),
        (TensorProto.INT32, [-(2**31), 2**31 - 1]),
        (TensorProto.UINT32, [0, 2**32 - 1]),
        (TensorProto.INT64, [-(2**63), 2**53 + 1]),
        (TensorProto.UINT64, [2**63, 2**64 - 1]),
        (TensorProto.FLOAT, [0.1, -3e38]),
        (TensorProto.DOUBLE, [0.1, -1.7976931348623157e308]),
        (TensorProto.BOOL, [True, False]),
        (TensorProto.STRING, ["", "grüße\u0000\U0001f600"]),
    ],
    ids=lambda given: TensorProto.DataType.Name(given) if isinstance(given, int) else "",
)
def test_every_type_that_json_carries_comes_back_to_the_last_bit(
    bundles: Callable[..., Path], serve: Callable[..., Running], element_type: int, values: list[Any]
) -> None:
    server = serve(bundles(small.cast(element_type), name="same"))
    try:
        for filler in ("", "x" * 4096):
            rows = [values, values[::-1]]
            assert predict(server, {"instances": rows, "filler": filler}, "same").json == {"predictions": rows}
            assert predict(server, {"inputs": rows, "filler": filler}, "same").json == {"outputs": rows}
    finally:
        server.end()


def test_what_is_not_finite_is_an_error_unless_null_is_asked_for(server_of: Server) -> None:
    server, request = server_of("summary"), {"inputs": [3e38, 3e38]}
    answer = predict(server, request, "summary")
    assert answer.status == 500
    assert answer.error.startswith("NonFiniteOutput: output 'sum' holds NaN or infinity")
    answer = predict(server, {**request, "parameters": {"nonfinite": "null"}}, "summary")
    assert answer.json["outputs"]["sum"] == [None]
    assert predict(server, {**request, "parameters": {"nonfinite": "drop"}}, "summary").status == 400


# -- what is served


def test_the_status_is_what_both_kinds_of_clients_look_at(fraud: Running) -> None:
    status = {
        "name": "fraud",
        "ready": True,
        "model_version_status": [
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ],
    }
    assert fraud.get("/v1/models/fraud").json == status
    assert fraud.get("/v1/models/fraud/versions/1").json == status
    assert fraud.get("/v1/models").json == {"models": ["fraud"]}
    assert fraud.get("/").json == {"status": "alive"}


def test_the_metadata_says_types_and_shapes_as_a_signature(fraud: Running) -> None:
    rows = {"size": "-1", "name": "N"}

    def port(name: str, dtype: str, *dimensions: dict[str, str]) -> dict[str, Any]:
        shape = {"dim": list(dimensions), "unknown_rank": False}
        return {name: {"dtype": dtype, "tensor_shape": shape, "name": name}}

    signature = {
        "inputs": port("x", "DT_FLOAT", rows, {"size": "4", "name": ""}),
        "outputs": port("scores", "DT_FLOAT", rows, {"size": "3", "name": ""}) | port("label", "DT_INT64", rows),
        "method_name": "tensorflow/serving/predict",
    }
    assert fraud.get("/v1/models/fraud/metadata").json == {
        "model_spec": {"name": "fraud", "signature_name": "", "version": "1"},
        "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
    }


def test_a_version_is_the_number_of_the_revision(bundles: Callable[..., Path], serve: Callable[..., Running]) -> None:
    server = serve(bundles(small.linear()), "--revision", "r7", "--revision-number", "7")
    body = json.dumps({"instances": [ROW]}).encode()
    assert server.ask("POST", "/v1/models/fraud/versions/7:predict", body).status == 200
    assert server.get("/v1/models/fraud").json["model_version_status"][0]["version"] == "7"
    assert server.get("/v1/models/fraud/versions/7/metadata").json["model_spec"]["version"] == "7"
    answer = server.ask("POST", "/v1/models/fraud/versions/6:predict", body)
    assert (answer.status, answer.error) == (404, "version '6' is not served here: this server has '7'")


@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("POST", "/v1/models/other:predict", 404, "model 'other' is not served here: this server has 'fraud'"),
        ("GET", "/v1/models/other", 404, "model 'other' is not served here: this server has 'fraud'"),
        ("GET", "/v1/models/fraud/versions/2/metadata", 404, "version '2' is not served here: this server has '1'"),
        ("POST", "/v1/models/fraud/versions/v1:predict", 404, "version 'v1' is not served here: this server has '1'"),
        ("POST", "/v1/models/fraud/labels/stable:predict", 400, "versions have no labels here"),
        ("GET", "/v1/models/fraud/labels/stable", 400, "versions have no labels here"),
        (
            "POST",
            "/v1/models/fraud:classify",
            501,
            ":classify is not offered: send tensors to /v1/models/fraud:predict",
        ),
        ("POST", "/v1/models/fraud/versions/1:regress", 501, ":regress is not offered"),
        ("POST", "/v1/models/fraud:explain", 404, "nothing is explained here: start the server with --explain 1"),
        ("GET", "/v1/models/fraud:predict", 405, "method GET is not offered here: use POST"),
        ("POST", "/v1/models/fraud", 405, "method POST is not offered here: use GET, HEAD"),
        ("POST", "/v1/models/fraud:train", 404, "no such path"),
        ("GET", "/v1/other", 404, "no such path"),
    ],
)
def test_a_path_that_is_not_served_says_what_is(
    fraud: Running, method: str, path: str, status: int, sentence: str
) -> None:
    answer = fraud.ask(method, path, b"{}" if method == "POST" else None)
    assert answer.status == status
    assert sentence in answer.error


def test_the_name_may_be_escaped_and_the_path_have_a_query(fraud: Running) -> None:
    body = json.dumps({"instances": [ROW]}).encode()
    assert fraud.ask("POST", "/v1/models/fraud%3Apredict?trace=1", body).status == 200


# -- the way through the server


def test_a_prediction_is_counted_once_like_any_other_request(fraud: Running) -> None:
    def counted() -> tuple[int, int]:
        stats = fraud.get("/v2/models/fraud/stats").json["model_stats"][0]
        return stats["inference_count"], stats["inference_stats"]["fail"]["count"]

    rows, failed = counted()
    predict(fraud, {"instances": [ROW, ROW]})
    predict(fraud, {"instances": [[1.0]]})
    assert counted() == (rows + 2, failed + 1)


def test_what_is_not_offered_is_no_evidence_against_the_model(fraud: Running) -> None:
    fraud.ask("POST", "/v1/models/fraud:classify", b"{}")
    assert 'code="501"' not in fraud.probe("/metrics").body.decode()


def test_an_answer_names_the_revision_in_its_header(fraud: Running) -> None:
    answer = predict(fraud, {"instances": [ROW]})
    assert answer.headers["x-tidegate-revision"] == "r7"
    assert answer.headers["content-type"] == "application/json"


def test_a_server_that_drains_says_that_it_is_not_ready(
    bundles: Callable[..., Path], serve: Callable[..., Running]
) -> None:
    server = serve(bundles(small.linear()), "--drain-delay", "10s")
    server.process.send_signal(signal.SIGTERM)
    until = time.monotonic() + DEADLINE
    while (answer := server.get("/v1/models/fraud")).status == 200:
        assert time.monotonic() < until, "it does not drain"
    assert answer.status == 503
    assert answer.json["ready"] is False
    assert answer.json["model_version_status"][0]["state"] == "UNLOADING"
    assert predict(server, {"instances": [ROW]}).status == 200
