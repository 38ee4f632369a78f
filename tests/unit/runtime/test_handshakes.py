"""Handshakes on a loop of their own: without file descriptors, without room, and what is left at the end."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.runtime.certificates import Files

from tidegate_runtime import handshakes
from tidegate_runtime.handshakes import Handshakes
from tidegate_runtime.request import Limits
from tidegate_runtime.tls import HTTP, TlsFiles

LIMITS = Limits(max_body=1, header_timeout=10.0, body_timeout=10.0, idle_timeout=10.0)
PATIENCE = 10.0


class Listening(socket.socket):
    """A listening socket whose process has no file descriptors left for the first `failing` times."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = self.asked = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.asked += 1
        if self.asked <= self.failing:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


class Greeting(asyncio.Protocol):
    """Says hello and goes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@asynccontextmanager
async def taking(
    files: Files, room: Callable[[], bool] = lambda: True, changed: Callable[[], None] = lambda: None
) -> AsyncIterator[tuple[Handshakes, Listening]]:
    with Listening() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        tls = TlsFiles(files.certificate, files.key, None)
        found = Handshakes(Greeting, tls, HTTP, LIMITS, room=room, changed=changed)
        yield found, listening
        found.abort()
        found.close()


async def greeting(listening: Listening, files: Files) -> bytes:
    port = listening.getsockname()[1]
    reader, writer = await asyncio.open_connection("localhost", port, ssl=files.trusting(), family=socket.AF_INET)
    try:
        return await asyncio.wait_for(reader.read(), PATIENCE)
    finally:
        writer.close()


def test_without_a_file_descriptor_it_waits_and_does_not_take_the_processor(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshakes, "PAUSE_SECONDS", 0.05)

    async def story() -> None:
        async with taking(files) as (found, listening):
            listening.failing = 2
            found.listen(listening)
            assert await greeting(listening, files) == b"hello"
            assert listening.asked <= 5  # two in vain, one client, and one look for the next after each wake-up

    asyncio.run(story())


def test_without_room_a_client_is_let_go_before_its_handshake(files: Files) -> None:
    async def story() -> None:
        async with taking(files, room=lambda: False) as (found, listening):
            found.listen(listening)
            with pytest.raises(ConnectionError):
                await greeting(listening, files)
            assert len(found) == 0

    asyncio.run(story())


def test_a_client_that_says_nothing_is_counted_until_it_is_cut_off(files: Files) -> None:
    async def story() -> None:
        changed = asyncio.Event()
        async with taking(files, changed=changed.set) as (found, listening):
            found.listen(listening)
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            await asyncio.wait_for(changed.wait(), PATIENCE)
            assert len(found) == 1
            changed.clear()
            found.abort()
            await asyncio.wait_for(changed.wait(), PATIENCE)
            assert len(found) == 0
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
            writer.close()

    asyncio.run(story())
