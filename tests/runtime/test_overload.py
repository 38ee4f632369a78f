"""Too much, too long, too wrong: what is refused at once, what is ended at its deadline, and who is not disturbed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.runtime import slow_model as slow
from tests.runtime import small_bundles as small
from tests.runtime.conftest import DEADLINE, Answer, Running
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def narrow(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    """One run at a time, two may wait, 0.8 s; a request may take 1.5 s."""
    return serve(
        bundles(slow.stepping(), [slow.sample()]), "--queue", "2", "--queue-timeout", "800ms",
        "--request-timeout", "1500ms", "--intra-op", str(os.cpu_count()),
    )  # fmt: skip


class Asking:
    """A request on a thread of its own."""

    def __init__(self, server: Running, steps: int) -> None:
        self.answer: Answer | None = None
        self._server, self._steps = server, steps
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        self.answer = self._server.infer(slow.request(self._steps))

    def wait(self) -> Answer:
        self._thread.join(DEADLINE)
        assert self.answer is not None
        return self.answer


def gauge(server: Running, name: str) -> float:
    lines = server.probe("/metrics").body.decode().splitlines()
    return next(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))


def wait_for_gauge(server: Running, name: str, value: float) -> None:
    wait_until(lambda: gauge(server, name) == value, f"{name} is {value}")


def test_a_run_is_ended_at_its_deadline_and_the_queue_refuses_what_it_cannot_hold(narrow: Running) -> None:
    running = Asking(narrow, slow.ENDLESS)
    wait_for_gauge(narrow, "tidegate_requests_in_flight", 1)
    waiting = [Asking(narrow, slow.SHORT), Asking(narrow, slow.SHORT)]
    wait_for_gauge(narrow, "tidegate_requests_queued", 2)

    refused = narrow.infer(slow.request(slow.SHORT))
    assert refused.status == 429
    assert refused.error == "the queue is full (2 requests wait)"
    assert int(refused.headers["retry-after"]) >= 1

    for asking in waiting:
        answer = asking.wait()
        assert answer.status == 429
        assert answer.error == "waited longer than 0.8 s for a free worker"
    ended = running.wait()
    assert ended.status == 504
    assert "longer than the request may" in ended.error or "ended at its deadline" in ended.error
    wait_for_gauge(narrow, "tidegate_requests_in_flight", 0)
    assert narrow.infer(slow.request(slow.SHORT)).status == 200


def test_a_request_may_ask_for_less_time(narrow: Running) -> None:
    before = time.monotonic()
    answer = narrow.infer({**slow.request(slow.ENDLESS), "parameters": {"timeout": 100_000}})
    assert (answer.status, answer.error) == (408, "the request's own timeout ran out")
    assert time.monotonic() - before < 1.4


def test_health_and_metadata_are_answered_while_a_long_run_is_under_way(narrow: Running) -> None:
    running = Asking(narrow, slow.ENDLESS)
    wait_for_gauge(narrow, "tidegate_requests_in_flight", 1)
    before = time.monotonic()
    assert narrow.get("/v2/health/ready").status == 200
    assert narrow.get("/v2/models/stepping").status == 404
    assert narrow.probe("/livez").status == 200
    assert time.monotonic() - before < 0.5
    assert running.wait().status == 504


def test_a_client_that_leaves_frees_its_place_in_the_queue(narrow: Running) -> None:
    running = Asking(narrow, slow.ENDLESS)
    wait_for_gauge(narrow, "tidegate_requests_in_flight", 1)
    body = b'{"inputs":[{"name":"steps","shape":[1],"datatype":"INT64","data":[1]}]}'
    with narrow.socket() as client:
        head = f"POST /v2/models/fraud/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        wait_for_gauge(narrow, "tidegate_requests_queued", 1)
    wait_for_gauge(narrow, "tidegate_requests_queued", 0)
    assert running.wait().status == 504


def test_an_input_the_model_fails_on_gives_a_sentence_without_a_path(
    bundles: Callable[..., Path], serve: Callable[..., Running]
) -> None:
    nodes = [helper.make_node("Gather", ["table", "ids"], ["y"])]
    ids = [small.value("ids", TensorProto.INT64, ["N"])]
    out = [small.value("y", TensorProto.FLOAT, ["N"])]
    server = serve(bundles(small.model(nodes, ids, out, {"table": np.arange(3, dtype=np.float32)})))

    def ask(number: int) -> Answer:
        return server.infer({"inputs": [{"name": "ids", "shape": [1], "datatype": "INT64", "data": [number]}]})

    wrong = ask(99)
    assert (wrong.status, wrong.error) == (500, "the model failed on this input: the server's log says why")
    assert "run failed" in server.line()
    assert ask(2).json["outputs"][0]["data"] == [2.0]


def test_a_request_that_makes_the_model_ask_for_more_memory_than_there_is_fails_alone(
    bundles: Callable[..., Path], serve: Callable[..., Running]
) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["y"], keepdims=0),
    ]
    sizes, out = [small.value("size", TensorProto.INT64, [1])], [small.value("y", TensorProto.FLOAT, [])]
    server = serve(bundles(small.model(nodes, sizes, out, {})))

    def ask(size: int) -> Answer:
        return server.infer({"inputs": [{"name": "size", "shape": [1], "datatype": "INT64", "data": [size]}]})

    before = server.peak_memory
    for size in (2**45, 2**62, -1):
        assert (ask(size).status, ask(size).error) == (500, "the model failed on this input: the server's log says why")
    assert server.peak_memory - before < 64 * 2**20
    assert ask(1000).json["outputs"][0]["data"] == [0.0]


def test_a_body_of_more_numbers_than_allowed_is_refused_before_it_is_read(
    bundles: Callable[..., Path], serve: Callable[..., Running]
) -> None:
    server = serve(bundles(small.linear()), "--max-json-numbers", "1024")
    before = server.peak_memory

    answer = server.infer(b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[' + b"1," * 2**22 + b"1]}]}")

    assert (answer.status, answer.error) == (
        413, "the JSON body holds more than 1024 values: send it as binary tensors",
    )  # fmt: skip
    assert server.peak_memory - before < 48 * 2**20  # the 8 MiB of the body, twice; 24 bytes for each number are 100 MB


def test_inputs_that_share_a_named_dimension_must_agree_in_it(
    bundles: Callable[..., Path], serve: Callable[..., Running]
) -> None:
    nodes = [helper.make_node("Add", ["a", "b"], ["y"])]
    inputs = [small.value(name, TensorProto.FLOAT, ["N", "L"]) for name in ("a", "b")]
    server = serve(bundles(small.model(nodes, inputs, [small.value("y", TensorProto.FLOAT, ["N", "L"])], {})))

    def tensor(name: str, *shape: int) -> dict[str, object]:
        return {"name": name, "shape": list(shape), "datatype": "FP32", "data": [1.0] * (shape[0] * shape[1])}

    assert server.infer({"inputs": [tensor("a", 2, 3), tensor("b", 2, 3)]}).json["outputs"][0]["data"] == [2.0] * 6
    wrong = server.infer({"inputs": [tensor("a", 2, 3), tensor("b", 2, 4)]})
    assert (wrong.status, wrong.error) == (400, "inputs 'a' and 'b' must agree in dimension 'L': found [3, 4]")
    missing = server.infer({"inputs": [tensor("a", 2, 3)]})
    assert (missing.status, missing.error) == (400, "input 'b' is missing")
