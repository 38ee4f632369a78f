"""Small HTTP calls to our own processes: the servers' metrics ports and a local Envoy's admin socket.

One request per connection, an overall deadline, and a limit on the answer.  A general client would add 15 MB and
connection pools for what is a dozen requests every ten seconds.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidegate.errors import Temporary

ANSWER_LIMIT = 4 * 1024 * 1024
DEADLINE_SECONDS = 2.0


class NoAnswer(Temporary):
    """A process of ours did not answer in time, or not as agreed."""

    reason = "NoAnswer"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a process listens: a port, of the loopback interface unless told, or a unix socket."""

    port: int = 0
    host: str = "127.0.0.1"
    socket: Path | None = None
    token: str = field(default="", repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return str(self.socket) if self.socket else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            raise NoAnswer("the answer is not JSON") from None


async def call(
    address: Address, method: str, path: str, body: object = None, *, deadline: float = DEADLINE_SECONDS
) -> Answer:
    """Send one request and read its answer; raises NoAnswer when there is none in time."""
    try:
        async with asyncio.timeout(deadline):
            return await exchange(address, method, path, b"" if body is None else json.dumps(body).encode())
    except (OSError, TimeoutError, EOFError, ValueError, IndexError) as error:
        reason = str(error) or type(error).__name__
        raise NoAnswer(f"{method} {path} failed: {reason}", where=str(address)) from None


async def exchange(address: Address, method: str, path: str, body: bytes) -> Answer:
    reader, writer = await connect(address)
    try:
        writer.write(request_bytes(address, method, path, body))
        await writer.drain()
        return await read_answer(reader)
    finally:
        writer.close()


async def connect(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.socket:
        return await asyncio.open_unix_connection(str(address.socket), limit=ANSWER_LIMIT)
    return await asyncio.open_connection(address.host, address.port, limit=ANSWER_LIMIT)


def request_bytes(address: Address, method: str, path: str, body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {len(body)}"]
    if address.token:
        lines.append(f"Authorization: Bearer {address.token}")
    if body:
        lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return Answer(status, await read_chunks(reader))
    if "content-length" in headers:
        return Answer(status, await reader.readexactly(checked(int(headers["content-length"]))))
    return Answer(status, await reader.read(ANSWER_LIMIT))


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readline()).split(b";")[0], 16):
        checked(len(body) + size)
        body += await reader.readexactly(size)
        await reader.readline()
    return bytes(body)


def checked(size: int) -> int:
    if not 0 <= size <= ANSWER_LIMIT:
        raise ValueError(f"an answer of {size} bytes is over the limit of {ANSWER_LIMIT}")
    return size
