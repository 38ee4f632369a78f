"""More connections ask than can be served: the server's time goes into answers, and nobody is left without one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.runtime import slow_model as slow
from tests.runtime.conftest import DEADLINE, Running
from tests.runtime.test_overload import gauge, wait_for_gauge
from tests.waiting import wait_until

UNREAD = "tidegate_connections_unread"
PADDING = b" " * 100_000  # of every other body: one that is read to a place of its own
PATIENCE = 60.0


def body_of(number: int) -> bytes:
    return json.dumps(slow.request(slow.SHORT)).encode() + (PADDING if number % 2 else b"")


async def ask(port: int, number: int) -> int:
    """One request on a connection of its own: its status, 0 when the connection broke."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = body_of(number)
    writer.write(b"POST /v2/models/fraud/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    try:
        return int((await reader.readline()).split()[1])
    except (OSError, IndexError):
        return 0
    finally:
        writer.close()


async def crowd(port: int, count: int) -> Counter[int]:
    async with asyncio.timeout(PATIENCE):
        return Counter(await asyncio.gather(*(ask(port, number) for number in range(count))))


async def given_up(server: Running, asking: Coroutine[Any, Any, object]) -> None:
    """A crowd that leaves as soon as some of it wait."""
    everybody = asyncio.create_task(asking)
    await asyncio.to_thread(wait_until, lambda: gauge(server, UNREAD) > 0, "some are not read")
    everybody.cancel()
    await asyncio.gather(everybody, return_exceptions=True)


@pytest.fixture
def narrow(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Callable[..., Running]:
    """One run at a time, some 20 ms each, and four that may wait."""

    def run(*flags: str) -> Running:
        bundle = bundles(slow.stepping(), [slow.sample()])
        return serve(bundle, "--queue", "4", "--intra-op", str(os.cpu_count()), *flags)

    return run


def test_a_crowd_is_answered_in_turn_and_what_is_asked_beside_it_at_once(narrow: Callable[..., Running]) -> None:
    server = narrow("--queue-timeout", "3s")

    async def scenario() -> Counter[int]:
        everybody = asyncio.create_task(crowd(server.http, 400))
        await asyncio.to_thread(wait_until, lambda: gauge(server, UNREAD) > 0, "some are not read")
        assert (await asyncio.to_thread(server.get, "/v2/health/ready")).status == 200
        return await everybody

    answers = asyncio.run(scenario())

    assert set(answers) == {200, 429}
    assert answers[200] > 20  # without waiting, it would be the five that find a place
    wait_for_gauge(server, UNREAD, 0)
    assert server.infer(slow.request(slow.SHORT)).status == 200


def test_who_waits_unread_is_answered_before_the_server_ends(narrow: Callable[..., Running]) -> None:
    server = narrow("--queue-timeout", "30s")

    async def scenario() -> Counter[int]:
        everybody = asyncio.create_task(crowd(server.http, 220))
        await asyncio.to_thread(wait_until, lambda: gauge(server, UNREAD) > 0, "some are not read")
        server.process.send_signal(signal.SIGTERM)
        return await everybody

    answers = asyncio.run(scenario())

    assert set(answers) == {200, 429}
    assert server.process.wait(timeout=DEADLINE) == 0


def test_a_client_that_leaves_unread_leaves_nothing_behind(narrow: Callable[..., Running]) -> None:
    server = narrow("--queue-timeout", "30s")

    asyncio.run(given_up(server, crowd(server.http, 300)))

    wait_for_gauge(server, UNREAD, 0)
    wait_for_gauge(server, "tidegate_requests_in_flight", 0)
    wait_for_gauge(server, "tidegate_connections", 0)
