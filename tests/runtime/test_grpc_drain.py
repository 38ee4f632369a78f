"""The gRPC port from its start to its end: not ready yet, ready, and SIGTERM under load without a lost request.

A request is lost when it was sent and neither answered nor refused before it was run.  Clients ask until they are
refused a connection.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
from tests.runtime import slow_model as slow
from tests.runtime import small_bundles as small
from tests.runtime.conftest import DEADLINE, Running
from tests.runtime.drain_clients import Tally, no_request_is_lost
from tests.runtime.grpc_client import ALONE, SERVICE, Client, refused, typed
from tests.runtime.test_drain import wait_for_one_in_flight
from tests.runtime.test_start import failed

from tidegate.bundle.golden import GoldenSample

EACH = 8
REQUEST = typed("x", "FP32", [1, 4], fp32_contents=[1, 2, 3, 4]).SerializeToString()
HEALTH = "/grpc.health.v1.Health"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"  # HealthCheckResponse


async def asked(channel: grpc.aio.Channel, tally: Tally) -> bool:
    """One request; false when the server takes no connections any more."""
    try:
        await channel.unary_unary(f"{SERVICE}/ModelInfer")(REQUEST, timeout=DEADLINE)
    except grpc.aio.AioRpcError as error:
        never_sent = error.code() is grpc.StatusCode.UNAVAILABLE and "failed to connect" in (error.details() or "")
        if not never_sent:
            tally.lost.append(f"{error.code()}: {error.details()}")
        return False
    tally.answer()
    return True


async def kept(port: int, tally: Tally) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=ALONE) as channel:
        while await asked(channel, tally):
            pass


async def one_per_connection(port: int, tally: Tally) -> None:
    goes_on = True
    while goes_on:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=ALONE) as channel:
            goes_on = await asked(channel, tally)


async def idle(port: int, tally: Tally) -> None:
    """One request, then nothing: its connection must end."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=ALONE) as channel:
        await asked(channel, tally)
        await asyncio.wait_for(channel.wait_for_state_change(grpc.ChannelConnectivity.READY), DEADLINE)


async def all_clients(server: Running, tally: Tally) -> None:
    clients = (client(server.grpc, tally) for client in (kept, one_per_connection, idle) for _ in range(EACH))
    await asyncio.gather(*clients)


@pytest.mark.slow
def test_no_request_is_lost_when_a_server_ends_under_load(
    bundles: Callable[..., Path], grpc_on: tuple[str, ...]
) -> None:
    no_request_is_lost(bundles(small.linear(), small.linear_samples()), all_clients, *grpc_on)


@pytest.fixture
def slow_server(
    bundles: Callable[..., Path], serve: Callable[..., Running], grpc_on: tuple[str, ...]
) -> Callable[..., Running]:
    def run(*flags: str) -> Running:
        return serve(bundles(slow.stepping(), [slow.sample()]), *grpc_on, *flags)

    return run


def test_a_long_run_is_finished_and_answered(slow_server: Callable[..., Running]) -> None:
    server = slow_server()
    with Client(server.grpc) as client:
        late = client.begin(typed("steps", "INT64", [1], int64_contents=[40 * slow.SHORT]))
        wait_for_one_in_flight(server)
        assert server.end() == 0
        assert late.result()


def test_what_takes_longer_than_the_drain_is_cut_off_and_the_process_ends(slow_server: Callable[..., Running]) -> None:
    server = slow_server("--drain", "300ms")
    with Client(server.grpc) as client:
        late = client.begin(typed("steps", "INT64", [1], int64_contents=[slow.ENDLESS]))
        wait_for_one_in_flight(server)
        before = time.monotonic()
        assert server.end() == 0
        assert time.monotonic() - before < 15
        assert late.exception() is not None


def test_watchers_of_the_health_are_told_at_once_while_requests_are_still_served(
    bundles: Callable[..., Path], serve: Callable[..., Running], grpc_on: tuple[str, ...]
) -> None:
    server = serve(bundles(small.linear()), *grpc_on, "--drain-delay", "60s")
    with Client(server.grpc) as client:
        first, second = (client.channel.unary_stream(f"{HEALTH}/Watch")(b"", timeout=DEADLINE) for _ in range(2))
        assert (next(first), next(second)) == (SERVING, SERVING)
        first.cancel()
        server.process.send_signal(signal.SIGTERM)
        assert next(second) == NOT_SERVING
        assert client.ask(f"{HEALTH}/Check", b"") == NOT_SERVING
        assert client.ask(f"{SERVICE}/ServerReady", b"") == b""
        client.ask(f"{SERVICE}/ModelInfer", REQUEST)


def test_a_watcher_does_not_hold_the_end_up(
    bundles: Callable[..., Path], serve: Callable[..., Running], grpc_on: tuple[str, ...]
) -> None:
    server = serve(bundles(small.linear()), *grpc_on)
    with Client(server.grpc) as client:
        watching = client.channel.unary_stream(f"{HEALTH}/Watch")(b"", timeout=DEADLINE)
        assert next(watching) == SERVING
        before = time.monotonic()
        assert server.end() == 0
        assert time.monotonic() - before < 15
        assert list(watching) in ([], [NOT_SERVING])


def test_only_its_own_services_have_a_health(
    bundles: Callable[..., Path], serve: Callable[..., Running], grpc_on: tuple[str, ...]
) -> None:
    server = serve(bundles(small.linear()), *grpc_on)
    name = SERVICE.removeprefix("/").encode()
    with Client(server.grpc) as client:
        assert client.ask(f"{HEALTH}/Check", bytes([10, len(name)]) + name) == SERVING
        assert refused(lambda: client.ask(f"{HEALTH}/Check", b"\n\x01x")).code == "NOT_FOUND"


@pytest.fixture
def loading(bundles: Callable[..., Path], serve: Callable[..., Running], grpc_on: tuple[str, ...]) -> Running:
    """A server that never gets ready: its golden sample has no end."""
    endless = GoldenSample({"steps": np.array([slow.ENDLESS])}, {"y": np.zeros((1, 1), np.float32)})
    return serve(bundles(slow.stepping(), [endless]), *grpc_on, ready=False)


def test_before_it_is_ready_it_lives_and_says_so(loading: Running) -> None:
    with Client(loading.grpc) as client:
        assert client.ask(f"{SERVICE}/ServerLive", b"") == b"\x08\x01"
        assert client.ask(f"{SERVICE}/ServerReady", b"") == b""
        assert client.ask(f"{SERVICE}/ModelReady", b"") == b""
        assert client.ask(f"{HEALTH}/Check", b"") == NOT_SERVING
        for method in ("ModelInfer", "ModelMetadata"):
            answer = refused(lambda method=method: client.ask(f"{SERVICE}/{method}", b""))  # type: ignore[misc]
            assert (answer.code, answer.sentence) == ("UNAVAILABLE", "the model is not ready yet")
    assert loading.end() == 0


def test_a_port_that_is_taken_ends_it_with_a_reason(
    bundles: Callable[..., Path], serve: Callable[..., Running], grpc_on: tuple[str, ...]
) -> None:
    folder = bundles(small.linear())
    first = serve(folder, *grpc_on)
    code, words = failed(folder, *grpc_on, "--grpc-port", str(first.grpc))
    assert (code, words["reason"]) == (1, "PortTaken")
    assert "in use" in words["message"]


def test_grpc_is_told_where_it_has_a_port_and_grpcio_loaded_where_it_is_asked_for(
    bundles: Callable[..., Path], serve: Callable[..., Running], grpc_on: tuple[str, ...]
) -> None:
    def loaded(server: Running) -> bool:
        return "cygrpc" in Path(f"/proc/{server.process.pid}/maps").read_text()

    folder = bundles(small.linear())
    without, with_one = serve(folder, *grpc_on, "--grpc-port", "off"), serve(folder, *grpc_on)
    assert (without.grpc, loaded(without)) == (0, False)
    assert with_one.grpc
    assert loaded(with_one) == ("grpcio" in grpc_on)


def test_it_stays_within_its_memory(
    bundles: Callable[..., Path], serve: Callable[..., Running], grpc_on: tuple[str, ...]
) -> None:
    server = serve(bundles(small.linear()), *grpc_on)
    with Client(server.grpc) as client:
        client.ask(f"{SERVICE}/ModelInfer", REQUEST)
        before = server.resident_memory
        for _ in range(2000):
            client.ask(f"{SERVICE}/ModelInfer", REQUEST)
    if "native" in grpc_on:
        assert server.resident_memory < 110 * 2**20
    assert server.resident_memory - before < 8 * 2**20  # a kept kilobyte of each would be 2 MB, a kept message more
