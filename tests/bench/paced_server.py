"""A server of the Open Inference Protocol that takes a known time for each request, one after the other.

It keeps to the clock and uses hardly any CPU, so its capacity is known on a busy machine, too.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import httptools

METADATA = {
    "name": "paced", "versions": ["1"], "platform": "none",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}],
}  # fmt: skip
BODY = b'{"model_name": "paced", "outputs": []}'


@dataclass
class Behaviour:
    """Seconds a request; a stall of so many seconds, once, after so many requests; every n-th request is refused."""

    service: float = 0.005
    stall_after: int = 0
    stall: float = 0.0
    refuse_every: int = 0
    chunked: bool = False
    closes: bool = False  # the connection after each answer


class Paced:
    """What all connections share."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests = 0
        self.connections = 0
        self.headers: dict[str, str] = {}
        self.port = 0
        self._free_from = 0.0

    def answered_at(self) -> float:
        """When a request that came now is answered."""
        self.requests += 1
        begin = max(time.monotonic(), self._free_from)
        if self.requests == self.behaviour.stall_after:
            begin += self.behaviour.stall
        self._free_from = begin + self.behaviour.service
        return self._free_from

    def answer(self, number: int) -> bytes:
        every = self.behaviour.refuse_every
        status = b"429 Too Many Requests" if every and number % every == 0 else b"200 OK"
        head = b"HTTP/1.1 " + status + b"\r\n" + (b"Connection: close\r\n" if self.behaviour.closes else b"")
        if self.behaviour.chunked:
            return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
        return head + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Connection(asyncio.Protocol):
    def __init__(self, server: Paced) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._server.connections += 1
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._path = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._server.headers[name.decode().lower()] = value.decode()

    def on_message_complete(self) -> None:
        if not self._path.endswith(b"/infer"):
            body = json.dumps(METADATA).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            return
        loop = asyncio.get_running_loop()
        when = self._server.answered_at()
        loop.call_at(loop.time() + when - time.monotonic(), self._answer, self._server.requests)

    def _answer(self, number: int) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(self._server.answer(number))
        if self._server.behaviour.closes:
            self._transport.close()


@contextmanager
def paced(behaviour: Behaviour) -> Iterator[Paced]:
    """Serve on a thread of its own."""
    server, listening = Paced(behaviour), threading.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        listener = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, backlog=1024)
        server.port = listener.sockets[0].getsockname()[1]
        listening.set()
        async with listener:
            await over.wait()

    over = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert listening.wait(20)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
