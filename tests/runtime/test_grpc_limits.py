"""What a gRPC client may cost: message sizes, the queue, deadlines, cancelled calls, compressed bombs, broken bytes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime import slow_model as slow
from tests.runtime import small_bundles as small
from tests.runtime.conftest import DEADLINE, Running
from tests.runtime.grpc_client import SERVICE, Client, Refusal, raw, refusal, refused, typed
from tests.runtime.test_overload import gauge, wait_for_gauge
from tests.waiting import wait_until

RUNS = "tidegate_batch_rows_count"
IN_FLIGHT, QUEUED, LEFT = "tidegate_requests_in_flight", "tidegate_requests_queued", "tidegate_clients_left_total"
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def narrow(bundles: Callable[..., Path], serve: Callable[..., Running], grpc_on: tuple[str, ...]) -> Running:
    """One run at a time, one may wait."""
    return serve(
        bundles(slow.stepping(), [slow.sample()]), "--queue", "1", "--request-timeout", "8s",
        "--intra-op", str(os.cpu_count()), *grpc_on,
    )  # fmt: skip


@pytest.fixture(scope="module")
def patient(bundles: Callable[..., Path], serve: Callable[..., Running], grpc_on: tuple[str, ...]) -> Running:
    """One run at a time, for as long as the client wants."""
    return serve(
        bundles(slow.stepping(), [slow.sample()]), "--queue", "512", "--request-timeout", "10m",
        "--intra-op", str(os.cpu_count()), *grpc_on,
    )  # fmt: skip


@pytest.fixture
def client(narrow: Running) -> Iterator[Client]:
    with Client(narrow.grpc) as found:
        yield found


@pytest.fixture(scope="module")
def small_messages(bundles: Callable[..., Path], serve: Callable[..., Running], grpc_on: tuple[str, ...]) -> Running:
    return serve(bundles(small.linear()), "--max-body", "64KiB", *grpc_on)


@pytest.fixture(scope="module")
def small_client(small_messages: Running) -> Iterator[Client]:
    with Client(small_messages.grpc) as found:
        yield found


def steps(count: int) -> Any:
    return typed("steps", "INT64", [1], int64_contents=[count])


def test_an_expired_call_is_not_run(narrow: Running, client: Client) -> None:
    runs = gauge(narrow, RUNS)
    running = client.begin(steps(slow.ENDLESS))
    wait_for_gauge(narrow, IN_FLIGHT, 1)
    waiting = client.begin(steps(slow.SHORT), timeout=0.2)
    assert refusal(waiting.exception()).code == "DEADLINE_EXCEEDED"
    wait_for_gauge(narrow, QUEUED, 0)
    assert gauge(narrow, IN_FLIGHT) == 1
    assert refusal(running.exception()).code == "DEADLINE_EXCEEDED"
    client.infer(steps(slow.SHORT))
    assert gauge(narrow, RUNS) == runs + 2  # the long one, and the one after it


def test_a_run_is_ended_at_the_deadline_of_its_call(patient: Running) -> None:
    with Client(patient.grpc) as client:
        before = time.monotonic()
        answer = refused(lambda: client.infer(steps(slow.ENDLESS), timeout=0.3))
        assert answer.code == "DEADLINE_EXCEEDED"
        client.infer(steps(slow.SHORT))  # the only worker is free again, long before the server's own limit
        assert time.monotonic() - before < 15


def test_a_timeout_in_the_parameters_is_kept_too(client: Client) -> None:
    asked = steps(slow.ENDLESS)
    asked.parameters["timeout"].int64_param = 100_000
    answer = refused(lambda: client.infer(asked))
    assert (answer.code, answer.sentence) == ("DEADLINE_EXCEEDED", "the request's own timeout ran out")


def test_a_full_queue_refuses_and_a_cancelled_call_frees_its_place(narrow: Running, client: Client) -> None:
    running = client.begin(steps(slow.ENDLESS), timeout=5)  # and not as long as those behind it
    wait_for_gauge(narrow, IN_FLIGHT, 1)
    waiting = client.begin(steps(slow.SHORT))
    wait_for_gauge(narrow, QUEUED, 1)

    answer = refused(lambda: client.infer(steps(slow.SHORT)))
    assert (answer.code, answer.sentence) == ("RESOURCE_EXHAUSTED", "the queue is full (1 requests wait)")
    assert int(answer.trailing["grpc-retry-pushback-ms"]) >= 1000

    left = gauge(narrow, LEFT)
    waiting.cancel()
    wait_for_gauge(narrow, QUEUED, 0)
    wait_until(lambda: gauge(narrow, LEFT) > left, "it is counted")  # grpcio tells of it a moment later
    next_one = client.begin(steps(slow.SHORT), timeout=DEADLINE)
    wait_for_gauge(narrow, QUEUED, 1)
    assert refusal(running.exception()).code == "DEADLINE_EXCEEDED"
    assert next_one.result()


def test_a_message_above_the_limit_is_refused_and_the_connection_goes_on(small_client: Client) -> None:
    rows = 64 * 1024 // 16 + 1
    answer = refused(lambda: small_client.infer(raw("x", "FP32", [rows, 4], bytes(16 * rows))))
    assert answer.code == "RESOURCE_EXHAUSTED"
    assert "larger than" in answer.sentence
    small_client.infer(raw("x", "FP32", [1000, 4], bytes(16_000)))


def test_one_connection_too_many_is_refused_and_the_others_go_on(
    bundles: Callable[..., Path], serve: Callable[..., Running], grpc_on: tuple[str, ...]
) -> None:
    server = serve(bundles(small.linear()), *grpc_on, "--max-connections", "2")
    with Client(server.grpc) as first, Client(server.grpc) as second, Client(server.grpc) as third:
        for client in (first, second):
            client.ask(f"{SERVICE}/ServerLive", b"")
        assert refused(lambda: third.ask(f"{SERVICE}/ServerLive", b"")).code == "UNAVAILABLE"
        first.channel.close()
        second.ask(f"{SERVICE}/ServerLive", b"")


def test_a_connection_has_only_so_many_calls_under_way_and_the_others_wait_at_the_client(patient: Running) -> None:
    with Client(patient.grpc) as eager, Client(patient.grpc) as other:
        calls = [eager.begin(steps(slow.ENDLESS)) for _ in range(200)]
        wait_for_gauge(patient, IN_FLIGHT, 128)
        calls.append(other.begin(steps(slow.ENDLESS)))
        wait_for_gauge(patient, IN_FLIGHT, 129)
        assert not any(call.done() for call in calls)
    wait_for_gauge(patient, IN_FLIGHT, 0)


def test_a_bomb_is_refused_before_it_is_unpacked(small_messages: Running, small_client: Client) -> None:
    content = raw("x", "FP32", [MEGABYTE, 4], bytes(32 * MEGABYTE)).SerializeToString()  # 32 KB, packed
    before = small_messages.peak_memory
    method = small_client.channel.unary_unary(f"{SERVICE}/ModelInfer")
    call = method.future(content, timeout=DEADLINE, compression=grpc.Compression.Gzip)
    assert refusal(call.exception()).code == "UNIMPLEMENTED"
    assert small_messages.peak_memory - before < 16 * MEGABYTE


def test_a_message_of_millions_of_tensors_is_refused_before_it_is_parsed(narrow: Running, client: Client) -> None:
    before = narrow.peak_memory
    answer = refused(lambda: client.ask(f"{SERVICE}/ModelInfer", b"\x2a\x00" * (4 * MEGABYTE)))
    assert (answer.code, answer.sentence) == ("INVALID_ARGUMENT", "the message has more than 4096 fields")
    assert narrow.peak_memory - before < 64 * MEGABYTE  # parsed it would be 232


GOOD = raw("x", "FP32", [1, 4], np.ones(4, np.float32).tobytes()).SerializeToString()
EXPECTED = {"INVALID_ARGUMENT", "NOT_FOUND"}


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(GOOD)), cut=st.integers(0, 8), put=st.binary(max_size=8))
def test_broken_messages_never_break_the_server(small_client: Client, at: int, cut: int, put: bytes) -> None:
    try:
        small_client.ask(f"{SERVICE}/ModelInfer", GOOD[:at] + put + GOOD[at + cut :])
    except Refusal as error:
        assert error.code in EXPECTED
