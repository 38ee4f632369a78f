"""A light closed-loop HTTP client: N connections, each sends the same request again as soon as it has its answer.

It costs a few microseconds per request, so that one core of it loads one core of a server.  As a program it prints
one line of JSON: requests, seconds, latencies, errors.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import uvloop

END = b"\r\n\r\n"
LENGTH = b"content-length: "
LONGEST_ANSWER = 60.0


@dataclass(slots=True)
class Result:
    """What the client saw; times in seconds."""

    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def rps(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    def quantile(self, q: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0


class _Client(asyncio.Protocol):
    """One connection; answers must carry a content-length."""

    def __init__(self, request: bytes, result: Result, lost: asyncio.Event) -> None:
        self._request = request
        self._result = result
        self._lost = lost
        self._buffer = b""
        self._needed = 0
        self._sent = 0.0
        self.going = True
        self.finished = asyncio.Event()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        assert self.transport is not None
        self._sent = time.perf_counter()
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._needed:
            end = self._buffer.find(END)
            if end < 0:
                return
            head = self._buffer[: end + 1].lower()
            start = head.index(LENGTH) + len(LENGTH)
            self._needed = end + len(END) + int(head[start : head.find(b"\r", start)])
        if len(self._buffer) >= self._needed:
            self._answered()

    def _answered(self) -> None:
        result = self._result
        result.latencies.append(time.perf_counter() - self._sent)
        result.requests += 1
        if self._buffer[9:12] != b"200":
            result.errors += 1
        self._buffer, self._needed = b"", 0
        if self.going:
            self._send()
        else:
            self.finished.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self.finished.is_set():
            self._result.errors += 1
            self._lost.set()
            self.finished.set()


async def load(host: str, port: int, request: bytes, connections: int, seconds: float) -> Result:
    """Send `request` over `connections` connections for `seconds`, then wait for the answers still on their way."""
    result, lost, loop = Result(), asyncio.Event(), asyncio.get_running_loop()
    started = time.perf_counter()
    made = [
        await loop.create_connection(lambda: _Client(request, result, lost), host, port) for _ in range(connections)
    ]
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(lost.wait(), seconds)
    for _, one in made:
        one.going = False
    async with asyncio.timeout(LONGEST_ANSWER):
        await asyncio.gather(*(one.finished.wait() for _, one in made))
    result.seconds = time.perf_counter() - started
    for transport, _ in made:
        transport.close()
    return result


def post(path: str, body: bytes, headers: str = "") -> bytes:
    """The bytes of a POST request."""
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("request", type=Path, help="file with the whole request, header and body")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    request = given.request.read_bytes()
    result = uvloop.run(load(given.host, given.port, request, given.connections, given.seconds))
    figures = {"rps": result.rps, "p50Ms": result.quantile(0.5) * 1e3, "p99Ms": result.quantile(0.99) * 1e3}
    plain = {key: value for key, value in asdict(result).items() if key != "latencies"}
    print(json.dumps({**plain, **figures}))
    return 1 if result.errors else 0


if __name__ == "__main__":
    sys.exit(main())
