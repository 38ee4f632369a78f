"""Clients that keep their connections and never stop asking: HTTP/1.1, HTTP/2, and gRPC over it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
import grpc.aio
import httpx
from tests.local.local_run import INPUT
from tests.runtime.grpc_client import SERVICE, typed
from tritonclient.grpc import service_pb2 as messages

BODY = json.dumps(INPUT).encode()
VERSION = re.compile(rb'"model_version": ?"([^"]+)"')
PATH = "/v2/models/fraud/infer"
ANSWER_SECONDS = 10.0
SHOWN = 5


@dataclass
class Tally:
    """What clients were told; `failures` are sentences, `last` is when a version answered last (time.monotonic)."""

    versions: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    last: dict[str, float] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        return self.versions.total() + len(self.failures)

    def shown(self) -> Mapping[str, Any]:
        return {"versions": dict(self.versions), "failures": len(self.failures), "first": self.failures[:SHOWN]}


Ask = Callable[[], Awaitable[str]]


class Client(Protocol):
    async def ask(self) -> str:
        """The version that answered; raises whatever went wrong."""

    async def close(self) -> None: ...


Opens = Callable[..., Client]


class Http1:
    """One connection; opened again only after a failure, or where the other side has said that it closes it."""

    def __init__(self, address: tuple[str, int], host: str, headers: Mapping[str, str] | None = None) -> None:
        self._address = address
        extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\n{extra}Content-Type: application/json\r\n"
        self._request = f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> str:
        try:
            return await self._asked()
        except BaseException:
            await self.close()  # else the next answer would be this one's
            raise

    async def _asked(self) -> str:
        reader, writer = self._streams = self._streams or await asyncio.open_connection(*self._address)
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        lowered = head.lower()
        length = re.search(rb"content-length: (\d+)", lowered)
        body = await reader.readexactly(int(length[1])) if length else b""
        if b"connection: close" in lowered:
            await self.close()
        if not head.startswith(b"HTTP/1.1 200"):
            raise refused(head.splitlines()[0].decode(), body)
        return version(body)

    async def close(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None


class Http2:
    """One connection that speaks HTTP/2 from its first byte, without TLS; the gateway splits it by requests."""

    def __init__(self, address: tuple[str, int], host: str, headers: Mapping[str, str] | None = None) -> None:
        self._client = httpx.AsyncClient(
            http1=False, http2=True, base_url=f"http://{address[0]}:{address[1]}", timeout=ANSWER_SECONDS,
            limits=httpx.Limits(max_connections=1), trust_env=False,
            headers={"Host": host, "Content-Type": "application/json", **(headers or {})},
        )  # fmt: skip

    async def ask(self) -> str:
        answer = await self._client.post(PATH, content=BODY)
        if answer.status_code != httpx.codes.OK or answer.http_version != "HTTP/2":
            raise refused(f"{answer.http_version} {answer.status_code}", answer.content)
        return version(answer.content)

    async def close(self) -> None:
        await self._client.aclose()


def version(body: bytes) -> str:
    """Of the model that has answered so."""
    found = VERSION.search(body)
    assert found, body
    return found[1].decode()


def refused(line: str, body: bytes) -> RuntimeError:
    return RuntimeError(f"{line} {body[:200].decode(errors='replace')}")


class Grpc:
    """One channel, whose one connection the gateway splits by calls."""

    def __init__(self, address: tuple[str, int], host: str, headers: Mapping[str, str] | None = None) -> None:
        options = (("grpc.default_authority", host), ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
        self._channel = grpc.aio.insecure_channel(f"{address[0]}:{address[1]}", options=options)
        self._call: Any = self._channel.unary_unary(f"{SERVICE}/ModelInfer")
        self._metadata = tuple((headers or {}).items())
        self._request = typed("x", "FP32", [1, 4], fp32_contents=[1, 2, 3, 4]).SerializeToString()

    async def ask(self) -> str:
        answer = await self._call(self._request, timeout=ANSWER_SECONDS, metadata=self._metadata)
        return str(messages.ModelInferResponse.FromString(answer).model_version)

    async def close(self) -> None:
        await self._channel.close()


@asynccontextmanager
async def opened(opens: Sequence[Callable[[], Client]]) -> AsyncIterator[list[Ask]]:
    """The questions of clients that are closed afterwards."""
    clients = [one() for one in opens]
    try:
        yield [client.ask for client in clients]
    finally:
        for client in clients:
            await client.close()


@asynccontextmanager
async def steady(
    protocols: Mapping[str, Opens], each: int, every: Callable[[], float]
) -> AsyncIterator[Mapping[str, Tally]]:
    """So many clients of each protocol that never stop asking, and what they are told; they end before they are closed."""
    tallies: Mapping[str, Tally] = {name: Tally() for name in protocols}
    over = asyncio.Event()
    async with AsyncExitStack() as stack:
        tasks = []
        for name, client in protocols.items():
            asks = await stack.enter_async_context(opened([client] * each))
            tasks.append(asyncio.create_task(steadily(asks, tallies[name], over, every)))
        try:
            yield tallies
        finally:
            over.set()
            await asyncio.gather(*tasks)


async def steadily(asks: Sequence[Ask], tally: Tally, over: asyncio.Event, every: Callable[[], float]) -> None:
    """All in turn, each so often (in seconds; later where an answer takes longer), until it is over."""

    async def one(number: int, ask: Ask) -> None:
        await asyncio.sleep(every() * number / len(asks))  # together they would be a burst each time
        while not over.is_set():
            begun = time.monotonic()
            await counted(ask, tally)
            await asyncio.sleep(max(0.0, begun + every() - time.monotonic()))

    await asyncio.gather(*(one(number, ask) for number, ask in enumerate(asks)))


async def so_often(asks: Sequence[Ask], count: int) -> Tally:
    """`count` requests, shared by all of them as each is free."""
    tally, left = Tally(), iter(range(count))

    async def one(ask: Ask) -> None:
        for _ in left:
            await counted(ask, tally)

    await asyncio.gather(*map(one, asks))
    return tally


async def counted(ask: Ask, tally: Tally) -> None:
    try:
        found = await asyncio.wait_for(ask(), ANSWER_SECONDS)
        tally.versions[found] += 1
        tally.last[found] = time.monotonic()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is counted
        tally.failures.append(f"{type(error).__name__}: {str(error)[:200]}")
