"""Who accepts: only a process without room pauses, others go on; and with other processes, who gets a connection."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable

import pytest

from tidegate_runtime import accepting
from tidegate_runtime.accepting import Accepting
from tidegate_runtime.listening import Listener

PATIENCE = 20.0


class Listening(socket.socket):
    """A listening socket that fails with `failure` for the first `failing` times, having somebody in line or not."""

    def __init__(self) -> None:
        super().__init__()
        self.bind(("127.0.0.1", 0))
        self.listen()
        self.failure = self.failing = self.asked = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.asked += 1
        if self.asked <= self.failing:
            raise OSError(self.failure, "it failed")
        return super().accept()


class Taken:
    """Greets whoever comes."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, client: socket.socket) -> None:
        self.count += 1
        client.sendall(b"hello")
        client.close()


def play(scene: Callable[[Listening, Taken], Awaitable[None]]) -> None:
    async def with_a_socket() -> None:
        with Listening() as listening:
            await asyncio.wait_for(scene(listening, Taken()), PATIENCE)

    asyncio.run(with_a_socket())


async def greeting(address: tuple[str, int]) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("failure", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_without_room_it_pauses_and_does_not_take_the_processor(failure: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "PAUSE_SECONDS", 0.05)

    async def scene(listening: Listening, taken: Taken) -> None:
        listening.failure, listening.failing = failure, 2
        ours = Accepting(listening, taken)

        assert await greeting(listening.getsockname()) == b"hello"

        assert listening.asked <= 5  # two in vain, one client, and one look for the next after each wake-up
        ours.close()

    play(scene)


@pytest.mark.parametrize("failure", [errno.ECONNABORTED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EPROTO])
def test_one_client_that_is_gone_keeps_nobody_else_waiting(failure: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "PAUSE_SECONDS", 10 * PATIENCE)

    async def scene(listening: Listening, taken: Taken) -> None:
        listening.failure, listening.failing = failure, 1
        ours = Accepting(listening, taken)

        assert await greeting(listening.getsockname()) == b"hello"

        ours.close()

    play(scene)


def test_who_is_in_line_when_it_is_closed_stays_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "PAUSE_SECONDS", 0.0)

    async def scene(listening: Listening, taken: Taken) -> None:
        listening.failure, listening.failing = errno.EMFILE, 1
        ours = Accepting(listening, taken)
        with socket.create_connection(listening.getsockname()):
            while not listening.asked:  # noqa: ASYNC110 - the scene's own deadline ends it
                await asyncio.sleep(0)
            ours.close()  # while it pauses
            for _ in range(5):  # turns of the loop
                await asyncio.sleep(0)

            assert taken.count == 0
            client, _ = listening.accept()
            client.close()

    play(scene)


class Welcoming(Taken):
    """As those who shake hands with clients, without doing so."""

    def begin(self, client: socket.socket) -> None:
        self(client)


def test_at_the_end_clients_in_line_that_are_gone_cost_no_other_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        listening, welcoming = Listening(), Welcoming()
        monkeypatch.setattr("tidegate_runtime.listening.bind", lambda _host, _port: listening)
        listener = Listener(Greeting, welcoming)  # type: ignore[arg-type]
        address = ("127.0.0.1", await listener.start("127.0.0.1", 0))
        with socket.create_connection(address), socket.create_connection(address):
            listening.failure, listening.failing = errno.ECONNABORTED, 2
            await listener.stop()

        assert welcoming.count == 2

    asyncio.run(asyncio.wait_for(scene(), PATIENCE))


class Others:
    """The other processes, of which `room` connections are taken."""

    def __init__(self, room: int) -> None:
        self.room, self.elsewhere, self.shut = room, 0, False

    def hand_over(self, client: socket.socket) -> bool:
        if self.elsewhere == self.room:
            return False
        self.elsewhere += 1
        client.sendall(b"elsewhere")
        client.close()
        return True

    def shut_doors(self) -> None:
        self.shut = True


class Greeting(asyncio.Protocol):
    """Says where it is and goes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"here")
        transport.close()


def test_what_other_processes_do_not_take_is_served_here_and_their_doors_are_shut_at_the_end() -> None:
    async def scene() -> None:
        others, listener = Others(room=2), Listener(Greeting, None)
        address = ("127.0.0.1", await listener.start("127.0.0.1", 0))
        assert await greeting(address) == b"here"

        listener.share(others)
        assert [await greeting(address) for _ in range(4)] == [b"elsewhere", b"elsewhere", b"here", b"here"]
        assert not others.shut

        await listener.stop()
        assert others.shut

    asyncio.run(asyncio.wait_for(scene(), PATIENCE))
