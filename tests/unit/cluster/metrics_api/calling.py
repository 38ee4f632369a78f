"""The metrics server in this process, and who calls it over TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.control_plane import pki

from tidegate.cluster.api import Key
from tidegate.cluster.metrics_api.certificate import Authority
from tidegate.cluster.metrics_api.front_proxy import FrontProxy
from tidegate.cluster.metrics_api.server import ROOT, MetricsServer
from tidegate.plan.load import Reading, Window

HOST = "tidegate-metrics-api.tidegate.svc"
NAME = "front-proxy-client"
QUESTION = f"{ROOT}/namespaces/shop/tidegate_concurrency?labelSelector=model%3Dfraud"
BEFORE = Reading(at=0, started=1, requests=0, answered=0, busy=0, begun=0, waited=0, in_flight=0)


@dataclass
class Signer:
    """An authority of client certificates, and the files of those that it gave."""

    folder: Path
    authority: pki.Authority = field(default_factory=pki.Authority.new)

    @property
    def pem(self) -> str:
        return self.authority.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def certificate(self, name: str = NAME) -> Path:
        certificate, key = self.authority.issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, [])
        path = self.folder / f"{name}-{id(self)}.pem"
        path.write_bytes(certificate + key)
        return path


@dataclass
class Loads:
    """Answers as it is told."""

    error: Exception | None = None
    waits: asyncio.Event | None = None
    asked: list[tuple[Key, str]] = field(default_factory=list)

    async def windows(self, key: Key, revision: str = "") -> tuple[list[Window], int]:
        self.asked.append((key, revision))
        if self.waits:
            await self.waits.wait()
        if self.error:
            raise self.error
        return [Window(BEFORE, replace(BEFORE, at=10, answered=1, busy=25))], 2


class Caller:
    """A server, and what it answers; `proxy` is whom it believes at first."""

    def __init__(self, signer: Signer, loads: Loads) -> None:
        self.authority = Authority(HOST)
        self.codes: list[int] = []
        self.server = MetricsServer(loads, lambda key: key == ("shop", "fraud"), self.codes.append)
        self.signer = signer
        self.port = 0

    def believe(self, signer: Signer, *names: str) -> None:
        self.server.believe(FrontProxy(signer.pem, frozenset(names)), self.authority.context(signer.pem))

    async def ask(self, path: str = QUESTION, *, shown: Path | None = None, method: str = "GET") -> tuple[int, Any]:
        """Over a connection of its own; raises what aiohttp does where there is no answer."""
        async with self.session(shown or self.signer.certificate()) as session:
            return await self.over(session, path, method)

    async def over(self, session: aiohttp.ClientSession, path: str = QUESTION, method: str = "GET") -> tuple[int, Any]:
        url = f"https://127.0.0.1:{self.port}{path}"
        async with session.request(method, url, server_hostname=HOST) as answer:
            return answer.status, await answer.json()

    @asynccontextmanager
    async def session(self, shown: Path | None) -> AsyncIterator[aiohttp.ClientSession]:
        context = ssl.create_default_context(cadata=self.authority.pem.decode())
        if shown:
            context.load_cert_chain(shown)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            yield session


@asynccontextmanager
async def serving(signer: Signer, loads: Loads | None = None) -> AsyncIterator[Caller]:
    caller = Caller(signer, loads or Loads())
    caller.believe(signer, NAME)
    caller.port = await caller.server.start("127.0.0.1", 0)
    try:
        yield caller
    finally:
        await caller.server.stop()
