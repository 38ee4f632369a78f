"""More calls than can be run: the server's time goes into answers, and every call has one."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.runtime import slow_model as slow
from tests.runtime.conftest import DEADLINE, Running
from tests.runtime.grpc_client import ALONE, SERVICE, Client
from tests.runtime.test_backpressure import PATIENCE, UNREAD, given_up
from tests.runtime.test_overload import gauge, wait_for_gauge
from tests.waiting import wait_until

from tidegate.protocol import open_inference_pb2 as messages

CHANNELS = 4
PADDING = 300_000  # bytes of every other message: more than may come unasked


@pytest.fixture
def narrow(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Callable[..., Running]:
    """One run at a time, some 20 ms each, and four that may wait."""

    def run(*flags: str) -> Running:
        bundle = bundles(slow.stepping(), [slow.sample()])
        return serve(bundle, "--queue", "4", "--intra-op", str(os.cpu_count()), "--grpc-port", "0", *flags)

    return run


def message_of(number: int) -> bytes:
    padded = {"padding": messages.InferParameter(string_param="x" * PADDING)} if number % 2 else {}
    steps = messages.ModelInferRequest.InferInputTensor(name="steps", datatype="INT64", shape=[1])
    steps.contents.int64_contents.append(slow.SHORT)
    request = messages.ModelInferRequest(model_name="fraud", inputs=[steps], parameters=padded)
    return bytes(request.SerializeToString())


async def crowd(port: int, count: int) -> Counter[str]:
    """How so many calls at once end, over a few connections."""
    channels: list[Any] = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=ALONE) for _ in range(CHANNELS)]
    try:
        calls = [channels[one % CHANNELS].unary_unary(f"{SERVICE}/ModelInfer")(message_of(one), timeout=PATIENCE)
                 for one in range(count)]  # fmt: skip
        return Counter([(await call.code()).name for call in calls])
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


def during(server: Running, count: int, then: Callable[[], Any]) -> Counter[str]:
    """How the calls of a crowd end during which, as soon as some wait, something else is done."""

    async def story() -> Counter[str]:
        everybody = asyncio.create_task(crowd(server.grpc, count))
        await asyncio.to_thread(wait_until, lambda: gauge(server, UNREAD) > 0, "some wait")
        await asyncio.to_thread(then)
        return await everybody

    return asyncio.run(story())


def test_a_crowd_is_answered_in_turn_and_what_is_asked_beside_it_at_once(narrow: Callable[..., Running]) -> None:
    server = narrow("--queue-timeout", "3s")

    def beside() -> None:
        with Client(server.grpc) as client:
            ready = client.ask(f"{SERVICE}/ServerReady", b"", timeout=2.0)
        assert messages.ServerReadyResponse.FromString(ready).ready

    answers = during(server, 400, beside)

    assert set(answers) == {"OK", "RESOURCE_EXHAUSTED"}
    assert answers["OK"] > 20  # without waiting, it would be the five that find a place
    wait_for_gauge(server, UNREAD, 0)
    assert asyncio.run(crowd(server.grpc, 1)) == {"OK": 1}


def test_who_waits_is_answered_before_the_server_ends(narrow: Callable[..., Running]) -> None:
    server = narrow("--queue-timeout", "30s")

    answers = during(server, 220, lambda: server.process.send_signal(signal.SIGTERM))

    assert set(answers) == {"OK", "RESOURCE_EXHAUSTED"}
    assert server.process.wait(timeout=DEADLINE) == 0


def test_calls_that_are_given_up_while_they_wait_leave_nothing_behind(narrow: Callable[..., Running]) -> None:
    server = narrow("--queue-timeout", "30s")

    asyncio.run(given_up(server, crowd(server.grpc, 400)))

    wait_for_gauge(server, UNREAD, 0)
    wait_for_gauge(server, "tidegate_requests_in_flight", 0)
    assert asyncio.run(crowd(server.grpc, 1)) == {"OK": 1}
