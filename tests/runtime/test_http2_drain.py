"""How a connection of HTTP/2 ends: in two steps, so that not even clients that never wait for answers lose a request."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Running
from tests.runtime.drain_clients import Tally, no_request_is_lost
from tests.runtime.grpc_client import ALONE
from tests.runtime.http2_client import (
    ACK,
    DATA,
    END_STREAM,
    GOAWAY,
    GOOD,
    INFER,
    NO_ERROR,
    PING,
    Peer,
    frame,
    message,
)
from tests.runtime.test_grpc_drain import asked

AT_ONCE = 16
GRPC = ("--grpc-port", "0")


@pytest.fixture
def server(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    return serve(bundles(small.linear(), small.linear_samples()), *GRPC)


def last_stream(peer: Peer) -> tuple[int, int]:
    """Of the next GOAWAY, with its code."""
    found = peer.until(GOAWAY)
    return int.from_bytes(found.payload[:4], "big"), found.code


def test_what_is_sent_before_the_client_has_heard_of_the_end_is_answered(server: Running) -> None:
    with Peer(server.grpc) as peer:
        assert peer.status(peer.ask(GOOD, INFER)) == (0, "")
        begun = peer.begin(INFER)
        server.process.send_signal(signal.SIGTERM)
        assert last_stream(peer) == (2**31 - 1, NO_ERROR)
        ping = peer.until(PING)
        late = peer.ask(GOOD, INFER)  # of a client that has not read GOAWAY yet
        assert peer.status(late) == (0, "")
        peer.send(frame(PING, ACK, 0, ping.payload))
        assert last_stream(peer) == (late, NO_ERROR)
        peer.ask(GOOD, INFER)  # too late, and the client knows: it was told the last one
        peer.send(frame(DATA, END_STREAM, begun, message(GOOD)))
        assert peer.status(begun) == (0, "")
        assert peer.read() is None
    assert server.process.wait(20) == 0


def test_connections_on_which_nothing_is_said_do_not_hold_the_end_up(server: Running) -> None:
    with Peer(server.grpc, b""), Peer(server.grpc) as idle:
        assert server.end() == 0
        assert last_stream(idle) == (2**31 - 1, NO_ERROR)
        assert idle.until(PING).flags == 0
        assert idle.read() is None


async def never_waiting(port: int, tally: Tally) -> None:
    """One connection with many calls under way, each begun as soon as another ends."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=ALONE) as channel:

        async def one_after_another() -> None:
            while await asked(channel, tally):
                pass

        await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))


async def all_clients(server: Running, tally: Tally) -> None:
    await asyncio.gather(*(never_waiting(server.grpc, tally) for _ in range(3)))


@pytest.mark.slow
def test_no_request_is_lost_of_clients_that_have_many_under_way(bundles: Callable[..., Path]) -> None:
    no_request_is_lost(bundles(small.linear(), small.linear_samples()), all_clients, *GRPC)
