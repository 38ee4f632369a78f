"""The Open Inference Protocol over gRPC as clients see it: methods, forms of tensors, statuses with a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tests.runtime import small_bundles as small
from tests.runtime.conftest import DEADLINE, Running
from tests.runtime.grpc_client import SERVICE, Client, raw, refused, request, typed
from tritonclient.grpc import service_pb2 as messages

ROW = [1.0, 2.0, 3.0, 4.0]
SCORES = [6.0, 7.0, 8.0]
REVISION = "x-tidegate-revision"


@pytest.fixture(scope="module")
def server(bundles: Callable[..., Path], serve: Callable[..., Running], grpc_on: tuple[str, ...]) -> Running:
    return serve(bundles(small.linear(), small.linear_samples()), "--revision", "r7", *grpc_on)


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[Client]:
    with Client(server.grpc) as found:
        yield found


def row() -> Any:
    return typed("x", "FP32", [1, 4], fp32_contents=ROW)


def changed(**fields: Any) -> Any:
    """A good request with other fields."""
    asked = row()
    for name, value in fields.items():
        setattr(asked, name, value)
    return asked


# -- a public client


def test_tritonclient_asks_everything_and_is_answered(server: Running) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{server.grpc}") as found:
        assert found.is_server_live()
        assert found.is_server_ready()
        assert all(found.is_model_ready("fraud", version) for version in ("", "v1", "r7"))
        about = found.get_server_metadata()
        assert (about.name, list(about.extensions)) == ("tidegate", ["classification"])
        assert found.get_model_metadata("fraud", as_json=True) == {
            "name": "fraud",
            "versions": ["v1"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}],
            "outputs": [
                {"name": "scores", "datatype": "FP32", "shape": ["-1", "3"]},
                {"name": "label", "datatype": "INT64", "shape": ["-1"]},
            ],
        }
        x = triton.InferInput("x", [1, 4], "FP32")
        x.set_data_from_numpy(np.array([ROW], np.float32))
        answer = found.infer("fraud", [x], request_id="q1", model_version="r7")
        assert answer.as_numpy("scores").tolist() == [SCORES]
        assert answer.as_numpy("label").tolist() == [2]
        about_answer = answer.get_response()
        assert (about_answer.model_name, about_answer.model_version, about_answer.id) == ("fraud", "v1", "q1")
        only = found.infer("fraud", [x], client_timeout=DEADLINE, outputs=[triton.InferRequestedOutput("label")])
        assert [output.name for output in only.get_response().outputs] == ["label"]


def test_tritonclient_asks_many_times_at_once(server: Running) -> None:
    came: SimpleQueue[Any] = SimpleQueue()
    with triton.InferenceServerClient(f"127.0.0.1:{server.grpc}") as found:
        for _ in range(50):
            x = triton.InferInput("x", [1, 4], "FP32")
            x.set_data_from_numpy(np.array([ROW], np.float32))
            found.async_infer("fraud", [x], lambda result, error: came.put(error or result.as_numpy("scores").tolist()))
        assert [came.get(timeout=DEADLINE) for _ in range(50)] == [[SCORES]] * 50


def test_the_highest_classes_of_an_output_can_be_asked_for(server: Running) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{server.grpc}") as found:
        x = triton.InferInput("x", [2, 4], "FP32")
        x.set_data_from_numpy(np.array([ROW, ROW], np.float32))
        answer = found.infer("fraud", [x], outputs=[triton.InferRequestedOutput("scores", class_count=2)])
        assert answer.as_numpy("scores").tolist() == [[b"8.0:2", b"7.0:1"]] * 2


# -- forms


def test_typed_values_are_answered_with_typed_values(client: Client) -> None:
    answer = client.infer(row())
    assert not answer.raw_output_contents
    assert list(answer.outputs[0].contents.fp32_contents) == SCORES
    assert list(answer.outputs[1].contents.int64_contents) == [2]


def test_raw_values_are_answered_with_raw_values(client: Client) -> None:
    answer = client.infer(raw("x", "FP32", [1, 4], np.array(ROW, np.float32).tobytes()))
    assert not any(output.HasField("contents") for output in answer.outputs)
    assert list(answer.raw_output_contents) == [np.array(SCORES, np.float32).tobytes(), np.array([2]).tobytes()]


@pytest.mark.parametrize("name", ["x" * length for length in (1, 2, 3, 4)])  # so the values begin at any address
def test_a_large_request_gives_what_its_rows_give_alone(client: Client, name: str) -> None:
    rows = np.random.default_rng(1).standard_normal((1000, 4)).astype(np.float32)

    def scores(part: Any) -> bytes:
        asked = raw("x", "FP32", list(part.shape), part.tobytes())
        asked.id = name
        return bytes(client.infer(asked).raw_output_contents[0])

    together = scores(rows)
    assert all(scores(rows[at : at + 1]) == together[12 * at : 12 * at + 12] for at in (0, 1, 500, 999))


def test_every_answer_and_refusal_of_the_model_tells_the_revision(client: Client) -> None:
    call = client.begin(row())
    call.result()
    assert dict(call.trailing_metadata())[REVISION] == "r7"
    assert refused(lambda: client.infer(request())).trailing[REVISION] == "r7"


# -- refusals


@pytest.mark.parametrize(
    ("asked", "code", "sentence"),
    [
        (changed(model_name="other"), "NOT_FOUND", "model 'other' is not served here: this server has 'fraud'"),
        (changed(model_version="v9"), "NOT_FOUND", "version 'v9' is not served here: this server has 'v1' and 'r7'"),
        (changed(id="x" * 257), "INVALID_ARGUMENT", "id must be a text of at most 256 characters"),
        (request(), "INVALID_ARGUMENT", "inputs must be a list of tensors, at least one"),
        (typed("z", "FP32", [1]), "INVALID_ARGUMENT", "input 'z' is not one of the model's: 'x'"),
        (typed("x", "FP64", [1, 4]), "INVALID_ARGUMENT", "input 'x': datatype FP32 is expected, not 'FP64'"),
        (typed("x", "FP32", [1, 5]), "INVALID_ARGUMENT", "input 'x': shape [1, 5] does not fit [N, 4]"),
        (typed("x", "FP32", [-1, 4]), "INVALID_ARGUMENT", "input 'x': shape must be a list of whole numbers, none below 0"),
        (typed("x", "FP32", [9999, 4]), "INVALID_ARGUMENT", "input 'x': first dimension 9999 is above the limit of 1024"),
        (
            typed("x", "FP32", [1, 4], fp64_contents=ROW),
            "INVALID_ARGUMENT", "input 'x': its shape needs 4 values in fp32_contents but it has 0",
        ),
        (
            raw("x", "FP32", [1, 4], b"123"),
            "INVALID_ARGUMENT", "input 'x': its shape needs 16 bytes (4 values of FP32) but it has 3",
        ),
        (
            request(inputs=[row().inputs[0], row().inputs[0]]),
            "INVALID_ARGUMENT", "input 'x' is there twice",
        ),
        (
            request(inputs=row().inputs, raw_input_contents=[b"1234" * 4]),
            "INVALID_ARGUMENT", "input 'x': has both contents and raw_input_contents",
        ),
        (
            request(inputs=row().inputs, raw_input_contents=[b"", b""]),
            "INVALID_ARGUMENT", "raw_input_contents must have an entry for each input: 2 for 1",
        ),
        (
            request(inputs=row().inputs, outputs=[{"name": "y"}]),
            "INVALID_ARGUMENT", "output 'y' is not one of the model's: 'scores', 'label'",
        ),
        (
            request(inputs=row().inputs, outputs=[{"name": "label", "parameters": {"classification": {"int64_param": 0}}}]),
            "INVALID_ARGUMENT", "output 'label': classification must be a whole number of classes, at least 1",
        ),
        (
            request(inputs=[{"name": "x", "datatype": "FP32", "shape": [1, 4],
                             "parameters": {"shared_memory_region": {"string_param": "a"}}}]),
            "INVALID_ARGUMENT", "input 'x': shared memory is not offered",
        ),
        (
            request(inputs=row().inputs, parameters={"timeout": {"string_param": "1s"}}),
            "INVALID_ARGUMENT", "parameters.timeout must be a whole number of microseconds",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_a_sentence(client: Client, asked: Any, code: str, sentence: str) -> None:
    answer = refused(lambda: client.infer(asked))
    assert (answer.code, answer.sentence) == (code, sentence)


def test_bytes_that_are_no_message_are_refused_and_counted(server: Running, client: Client) -> None:
    def refusals() -> int:
        lines = server.probe("/metrics").body.decode().splitlines()
        found = (line for line in lines if line.startswith("tidegate_requests_total{") and 'code="400"' in line)
        return int(next(found, "0").rsplit(" ", 1)[-1])

    before = refusals()
    answer = refused(lambda: client.ask(f"{SERVICE}/ModelInfer", b"\xff\xff"))
    assert (answer.code, answer.sentence) == ("INVALID_ARGUMENT", "the message is not a ModelInferRequest")
    assert refusals() == before + 1


def test_a_method_that_is_not_offered_is_unimplemented(client: Client) -> None:
    assert refused(lambda: client.ask(f"{SERVICE}/RepositoryIndex", b"")).code == "UNIMPLEMENTED"


def test_another_model_is_neither_ready_nor_described(client: Client) -> None:
    asked = messages.ModelReadyRequest(name="other").SerializeToString()
    for method in ("ModelReady", "ModelMetadata"):
        answer = refused(lambda method=method: client.ask(f"{SERVICE}/{method}", asked))  # type: ignore[misc]
        assert answer.sentence == "model 'other' is not served here: this server has 'fraud'"


# -- counting


def test_requests_are_counted_like_those_over_http_and_pinned_ones_apart(server: Running, client: Client) -> None:
    def counted(traffic: str) -> int:
        start = "tidegate_request_duration_seconds_count{"
        lines = server.probe("/metrics").body.decode().splitlines()
        return sum(
            int(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start) and f'traffic="{traffic}"' in line
        )

    before = {kind: counted(kind) for kind in ("requests", "pinned")}
    client.infer(row())
    client.infer(row(), metadata=(("x-tidegate-pinned", "r7"),))
    client.infer(row(), metadata=(("x-tidegate-pinned", "r7"),))
    assert counted("requests") == before["requests"] + 1
    assert counted("pinned") == before["pinned"] + 2
    stats = server.get("/v2/models/fraud/stats").json["model_stats"][0]
    assert stats["inference_stats"]["success"]["count"] >= 3
