"""The Open Inference Protocol over HTTP as clients see it: paths, JSON and binary tensors, errors with a sentence."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Running

ROW = [1.0, 2.0, 3.0, 4.0]
SCORES = [6.0, 7.0, 8.0]


def request(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": ROW, **changes}
    return {"inputs": [{key: value for key, value in tensor.items() if value is not None}]}


def test_an_answer_names_the_bundle_version_and_its_header_the_revision(fraud: Running) -> None:
    answer = fraud.infer({**request(), "id": "q1"})
    assert answer.status == 200
    assert answer.json == {
        "model_name": "fraud",
        "model_version": "v1",
        "id": "q1",
        "outputs": [
            {"name": "scores", "datatype": "FP32", "shape": [1, 3], "data": SCORES},
            {"name": "label", "datatype": "INT64", "shape": [1], "data": [2]},
        ],
    }
    assert answer.headers["x-tidegate-revision"] == "r7"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("version", ["v1", "r7"])
def test_the_model_answers_under_its_version_and_its_revision(fraud: Running, version: str) -> None:
    path = f"/v2/models/fraud/versions/{version}/infer"
    assert fraud.ask("POST", path, json.dumps(request()).encode()).status == 200


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/v2/models/fraud/versions/v9/infer", 404, "version 'v9' is not served here: this server has 'v1' and 'r7'"),
        ("/v2/models/other/infer", 404, "model 'other' is not served here: this server has 'fraud'"),
        ("/v2/repository/index", 400, "models cannot be loaded or unloaded over the network"),
        ("/v2/repository/models/fraud/unload", 400, "models cannot be loaded or unloaded over the network"),
        ("/v2/trace/setting", 400, "trace settings cannot be changed over the network: flags of the server set them"),
        ("/v2/models/fraud/trace/setting", 400, "trace settings cannot be changed over the network"),
        ("/v2/logging", 400, "log settings cannot be changed over the network: flags of the server set them"),
        ("/v2/systemsharedmemory/region/r/register", 400, "shared memory is not offered: send tensors in the body"),
        ("/v2/cudasharedmemory/status", 400, "shared memory is not offered: send tensors in the body"),
        ("/v2/models/fraud/explain", 404, "nothing is explained here: start the server with --explain 1"),
        ("/v2/models/fraud/train", 404, "no such path"),
    ],
)
def test_a_path_that_is_not_served_says_what_is(fraud: Running, path: str, status: int, sentence: str) -> None:
    answer = fraud.ask("POST", path, b"{}")
    assert answer.status == status
    assert sentence in answer.error


def test_a_wrong_method_says_which_is_right(fraud: Running) -> None:
    answer = fraud.get("/v2/models/fraud/infer")
    assert (answer.status, answer.error) == (405, "method GET is not offered here: use POST")


def test_metadata_config_stats_and_health_are_there(fraud: Running) -> None:
    about = fraud.get("/v2").json
    assert about["name"] == "tidegate"
    assert about["extensions"] == ["binary_tensor_data", "classification", "model_configuration", "statistics"]
    assert fraud.get("/v2/health/live").json == {"live": True}
    assert fraud.get("/v2/health/ready").status == 200
    assert fraud.get("/v2/models/fraud/ready").status == 200
    assert fraud.get("/v2/models/fraud").json["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert fraud.get("/v2/models/fraud/config").json["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}]
    before = fraud.get("/v2/models/fraud/stats").json["model_stats"][0]["inference_count"]
    fraud.infer(request(shape=[2, 4], data=ROW * 2))
    assert fraud.get("/v2/models/fraud/stats").json["model_stats"][0]["inference_count"] == before + 2


def test_head_gives_the_header_of_get_without_a_body(fraud: Running) -> None:
    answer = fraud.get("/v2/models/fraud", "HEAD")
    assert answer.body == b""
    assert int(answer.headers["content-length"]) == len(fraud.get("/v2/models/fraud").body)


def test_data_may_be_flat_or_nested_like_its_shape(fraud: Running) -> None:
    flat = fraud.infer(request(shape=[2, 4], data=ROW * 2)).json["outputs"]
    assert fraud.infer(request(shape=[2, 4], data=[ROW, ROW])).json["outputs"] == flat


def test_only_the_outputs_asked_for_are_answered(fraud: Running) -> None:
    answer = fraud.infer({**request(), "outputs": [{"name": "label"}]})
    assert [output["name"] for output in answer.json["outputs"]] == ["label"]


def test_an_output_may_be_binary_while_another_is_json(fraud: Running) -> None:
    wanted = [{"name": "label"}, {"name": "scores", "parameters": {"binary_data": True}}]
    answer = fraud.infer({**request(), "outputs": wanted})
    length = int(answer.headers["inference-header-content-length"])
    document = json.loads(answer.body[:length])
    assert document["outputs"][0]["data"] == [2]
    assert document["outputs"][1]["parameters"] == {"binary_data_size": 12}
    assert np.frombuffer(answer.body[length:], "<f4").tolist() == SCORES


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"data": [1, 2, 3]}, "input 'x': its shape [1, 4] needs 4 values but data has 3"),
        ({"data": [1, 2, 3, "4"]}, "input 'x': holds"),
        ({"data": [1, 2, 3, None]}, "input 'x': holds"),
        ({"data": [1, 2, 3, True]}, "input 'x': holds"),
        ({"data": [1, 2, 3, 1e39]}, "input 'x': holds a number too large for FP32"),
        ({"data": [[1, 2], [3, 4]], "shape": [1, 4]}, "input 'x': data"),
        ({"data": [[1, 2, 3, 4], [5, 6, 7]], "shape": [2, 4]}, "input 'x': data is not nested like its shape [2, 4]"),
        ({"data": [1, [2, 3], [], 4]}, "lists|input 'x': holds lists"),
        ({"data": "1234"}, "input 'x': data must be a list"),
        ({"data": None}, "input 'x': data must be a list"),
        ({"shape": [1, 5]}, "input 'x': shape [1, 5] does not fit [N, 4]"),
        ({"shape": [4]}, "input 'x': shape [4] does not fit [N, 4]"),
        ({"shape": [-1, 4]}, "input 'x': shape must be a list of whole numbers, none below 0"),
        ({"shape": [True, 4]}, "input 'x': shape must be a list of whole numbers"),
        ({"shape": [1.0, 4]}, "input 'x': shape must be a list of whole numbers"),
        ({"shape": [2**62, 4]}, "first dimension 4611686018427387904 is above the limit of 1024"),
        ({"shape": "x"}, "input 'x': shape must be a list of whole numbers"),
        ({"datatype": "FP64"}, "input 'x': datatype FP32 is expected, not 'FP64'"),
        ({"datatype": None}, "input 'x': datatype FP32 is expected"),
        ({"name": "z"}, "input 'z' is not one of the model's: 'x'"),
        ({"name": None}, "input '' is not one of the model's: 'x'"),
        ({"parameters": {"binary_data_size": 16}}, "input 'x': has both data and binary_data_size"),
        ({"parameters": {"shared_memory_region": "r"}}, "input 'x': shared memory is not offered"),
        ({"parameters": {"deep": [1]}}, "input 'x': parameters must be an object of plain values"),
    ],
)
def test_what_is_wrong_with_a_tensor_is_told_with_its_name(
    fraud: Running, changes: dict[str, Any], sentence: str, size: str
) -> None:
    document = request(**changes)
    if size == "large":
        document = {"parameters": {"filler": "x" * 4096}, **document}
    answer = fraud.infer(document)
    assert answer.status == 400
    assert any(words in answer.error for words in sentence.split("|")), answer.error


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'"x"', "must be a JSON object"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[NaN,1,2,3]}]}', "not valid JSON"),
        (b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1e999,1,2,3]}]}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a":' * 1500 + b"1" + b"}" * 1500, "not valid JSON"),
        (b'{"inputs":[]}', "inputs must be a list of tensors, at least one"),
        (b'{"inputs":{}}', "inputs must be a list of tensors, at least one"),
        (b'{"inputs":[1]}', "each input must be an object"),
        (b"{}", "inputs must be a list of tensors, at least one"),
    ],
)
def test_a_body_that_is_no_request_is_refused(fraud: Running, body: bytes, sentence: str) -> None:
    answer = fraud.infer(body)
    assert answer.status == 400
    assert sentence in answer.error


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"outputs": [{"name": "nope"}]}, "output 'nope' is not one of the model's: 'scores', 'label'"),
        ({"outputs": "scores"}, "outputs must be a list of objects"),
        ({"outputs": [{"name": "label", "parameters": {"shared_memory_region": "r"}}]}, "shared memory is not offered"),
        ({"id": 7}, "id must be a text"),
        ({"parameters": {"timeout": -1}}, "parameters.timeout must be a whole number of microseconds"),
        ({"parameters": {"nonfinite": "drop"}}, 'parameters.nonfinite must be "null"'),
        ({"parameters": []}, None),
        ({"parameters": [1]}, "parameters must be an object of plain values"),
    ],
)
def test_what_is_wrong_with_the_rest_is_told(fraud: Running, changes: dict[str, Any], sentence: str | None) -> None:
    answer = fraud.infer({**request(), **changes})
    if sentence is None:
        assert answer.status == 200
    else:
        assert answer.status == 400
        assert sentence in answer.error


def test_an_input_sent_twice_is_refused(fraud: Running) -> None:
    tensor = request()["inputs"][0]
    assert fraud.infer({"inputs": [tensor, tensor]}).error == "input 'x' is there twice"


def test_no_error_carries_a_path_or_a_trace(fraud: Running) -> None:
    for body in (b"{", b"[]", json.dumps(request(shape=[9, 9])).encode()):
        text = fraud.infer(body).error
        assert "/" not in text.replace("/v2/", "")
        assert "Traceback" not in text


def binary(tensor: dict[str, Any], raw: bytes, **more: Any) -> tuple[bytes, dict[str, str]]:
    text = json.dumps({"inputs": [tensor], **more}).encode()
    return text + raw, {"inference-header-content-length": str(len(text))}


@pytest.mark.parametrize(
    ("size", "raw", "sentence"),
    [
        (16, b"\0" * 12, "input 'x': binary_data_size is 16 but only 12 bytes are left in the body"),
        (12, b"\0" * 12, "input 'x': its shape needs 16 bytes (4 values of FP32) but it has 12"),
        (16, b"\0" * 20, "the body has 4 bytes that belong to no input"),
        (-1, b"", "input 'x': binary_data_size must be a whole number of bytes"),
        ("16", b"\0" * 16, "input 'x': binary_data_size must be a whole number of bytes"),
    ],
)
def test_a_binary_tensor_of_the_wrong_size_is_refused(fraud: Running, size: Any, raw: bytes, sentence: str) -> None:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": size}}
    body, headers = binary(tensor, raw)
    assert fraud.infer(body, headers=headers).error == sentence


@pytest.mark.parametrize("length", ["x", "-1", "99999999", "1" * 40])
def test_a_nonsense_length_of_the_json_part_is_refused(fraud: Running, length: str) -> None:
    answer = fraud.infer(request(), headers={"inference-header-content-length": length})
    assert answer.status == 400
    assert "inference-header-content-length" in answer.error


@pytest.mark.parametrize("binary_data", [True, False])
def test_the_public_client_gets_the_same_bits_over_json_and_binary(fraud: Running, binary_data: bool) -> None:
    client = triton.InferenceServerClient(f"127.0.0.1:{fraud.http}")
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("fraud")
        assert client.is_model_ready("fraud", "v1")
        assert client.get_model_metadata("fraud")["name"] == "fraud"
        assert client.get_model_config("fraud")["max_batch_size"] == 1024
        x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
        tensor = triton.InferInput("x", list(x.shape), "FP32")
        tensor.set_data_from_numpy(x, binary_data=binary_data)
        wanted = [triton.InferRequestedOutput(name, binary_data=binary_data) for name in ("scores", "label")]
        result = client.infer("fraud", [tensor], outputs=wanted, request_id="9")
        np.testing.assert_allclose(result.as_numpy("scores"), x @ small.WEIGHTS, rtol=1e-5)
        assert result.as_numpy("label").tolist() == (x @ small.WEIGHTS).argmax(-1).tolist()
        assert result.get_response()["id"] == "9"
        with pytest.raises(triton.InferenceServerException, match="'other' is not served here"):
            client.infer("other", [tensor])
        with pytest.raises(triton.InferenceServerException, match="cannot be loaded"):
            client.load_model("fraud")
        assert client.get_inference_statistics("fraud")["model_stats"][0]["name"] == "fraud"
    finally:
        client.close()
