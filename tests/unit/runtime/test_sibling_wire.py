"""How connections and messages get from the main process to its siblings, also when something is full, cut or gone."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tidegate_runtime.siblings import wire


@pytest.fixture
def door() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The main process's end and the sibling's."""
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        there.setblocking(False)
        yield here, there


def test_a_connection_goes_through_the_door_with_what_its_client_has_said(
    door: tuple[socket.socket, socket.socket],
) -> None:
    here, there = door
    client, accepted = socket.socketpair()
    with client:
        client.sendall(b"hello")

        assert wire.pass_on(here, accepted)

        assert accepted.fileno() == -1
        (received,) = wire.taken(there)
        assert received is not None
        with received:
            assert received.recv(10) == b"hello"


def test_connections_that_are_under_way_arrive_before_the_door_is_seen_to_be_shut(
    door: tuple[socket.socket, socket.socket],
) -> None:
    here, there = door
    pairs = [socket.socketpair() for _ in range(3)]
    assert all(wire.pass_on(here, accepted) for _, accepted in pairs)
    here.close()

    received = []
    with pytest.raises(EOFError):
        for one in wire.taken(there):
            received.append(one)  # noqa: PERF402 - what came before the error is kept

    assert len(received) == 3
    for end in (*(client for client, _ in pairs), *received):
        assert end is not None
        end.close()


def test_a_door_that_is_full_or_gone_takes_nothing_and_the_connection_lives(
    door: tuple[socket.socket, socket.socket],
) -> None:
    here, there = door
    client, accepted = socket.socketpair()
    with client, accepted:
        while True:
            try:
                here.send(b"." * 4096)
            except BlockingIOError:
                break
        assert not wire.pass_on(here, accepted)

        there.close()
        assert not wire.pass_on(here, accepted)
        accepted.sendall(b"still here")
        assert client.recv(20) == b"still here"


def test_a_connection_that_got_lost_for_want_of_descriptors_is_told(door: tuple[socket.socket, socket.socket]) -> None:
    here, there = door
    here.send(b".")  # as it arrives then: the byte without its descriptor

    assert list(wire.taken(there)) == [None]


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_messages_arrive_whole_however_they_are_cut(size: int) -> None:
    received: list[object] = []
    sent: list[bytes] = []

    class Transport:
        """Remembers what is written."""

        def is_closing(self) -> bool:
            return False

        def write(self, content: bytes) -> None:
            sent.append(content)

    line = wire.Line(received.append)
    line.connection_made(Transport())  # type: ignore[arg-type]
    for message in (wire.Ready(7), wire.Closed(3), wire.Drain()):
        line.send(message)
    stream = b"".join(sent)

    for start in range(0, len(stream), size):
        line.data_received(stream[start : start + size])

    assert received == [wire.Ready(7), wire.Closed(3), wire.Drain()]
