"""Handshakes on a loop of their own: without room, and what is left at the end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.runtime.certificates import Files

from tidegate_runtime.accepting import Accepting
from tidegate_runtime.handshakes import Handshakes
from tidegate_runtime.request import Limits
from tidegate_runtime.tls import HTTP, TlsFiles

LIMITS = Limits(max_body=1, header_timeout=10.0, body_timeout=10.0, idle_timeout=10.0)
PATIENCE = 10.0


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
) -> AsyncIterator[tuple[Handshakes, socket.socket]]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        tls = TlsFiles(files.certificate, files.key, None)
        found = Handshakes(Greeting, tls, HTTP, LIMITS, room=room, changed=changed)
        accepting = Accepting(listening, found.begin)
        yield found, listening
        accepting.close()
        found.abort()


async def greeting(listening: socket.socket, files: Files) -> bytes:
    port = listening.getsockname()[1]
    reader, writer = await asyncio.open_connection("localhost", port, ssl=files.trusting(), family=socket.AF_INET)
    try:
        return await asyncio.wait_for(reader.read(), PATIENCE)
    finally:
        writer.close()


def test_a_client_that_has_shaken_hands_is_its_protocols(files: Files) -> None:
    async def story() -> None:
        async with taking(files) as (_, listening):
            assert await greeting(listening, files) == b"hello"

    asyncio.run(story())


def test_without_room_a_client_is_let_go_before_its_handshake(files: Files) -> None:
    async def story() -> None:
        async with taking(files, room=lambda: False) as (found, listening):
            with pytest.raises(ConnectionError):
                await greeting(listening, files)
            assert len(found) == 0

    asyncio.run(story())


def test_a_client_that_says_nothing_is_counted_until_it_is_cut_off(files: Files) -> None:
    async def story() -> None:
        changed = asyncio.Event()
        async with taking(files, changed=changed.set) as (found, listening):
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
