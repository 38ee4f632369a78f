"""A Prometheus server of the operator's settings, asked for numbers.

Objects name a server by `ref` and never by its address, and credentials lie in files of the operator's own.  Asking is
bounded everywhere: five seconds, a limit on the answer, so many questions at once; a server that did not answer is left
alone for a moment, so that it cannot hold up every deployment's turn for five seconds each.
"""

from __future__ import annotations

import asyncio
import base64
import math
import os
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from tidegate.cluster import prometheus_samples
from tidegate.cluster.prometheus_answer import (
    Point,
    PrometheusDenied,
    PrometheusDown,
    PrometheusError,
    QueryRefused,
    UnknownServer,
    read_answer,
)
from tidegate.plan.samples import PodSample

DEADLINE_SECONDS = 5.0
REST_SECONDS = 5.0  # after a failure: half of the default interval between two looks
ANSWER_LIMIT = 32 * 2**20  # 64 servers that hit every bucket make 14 MB
AT_ONCE = 16
SECRET_LIMIT = 16 * 1024
NAMED = re.compile(r"([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)=(\S+)")
# Samples older than a minute are missing evidence; who is not listened to any more need not go on working.
BOUNDS: Mapping[str, str] = {"lookback_delta": f"{prometheus_samples.OLDEST_SECONDS:.0f}s", "timeout": "5s"}


def servers(text: str) -> dict[str, str]:
    """The servers of `main=https://…,other=http://…`, by name; ValueError with a sentence, as settings want it."""
    found: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        match = NAMED.fullmatch(part)
        if match is None or match[1] in found:
            raise ValueError("write NAME=URL for each server, with commas between, each name once")
        found[match[1]] = _base(match[1], match[2])
    return found


def _base(name: str, url: str) -> str:
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{name}: credentials belong into files (--prometheus-credentials), not into the address")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{name}: write http://HOST:PORT or https://HOST:PORT, and a path where there is one")
    return url.rstrip("/")


@dataclass(slots=True)
class Credentials:
    """Files of a folder, read at each use because Secrets are renewed under running pods.

    `NAME.token` is a bearer token, `NAME.username` and `NAME.password` are for basic authentication, `NAME.ca.crt` is
    the authority that the server's certificate is verified with in place of the system's.
    """

    folder: Path | None
    _trusted: dict[str, tuple[str, ssl.SSLContext]] = field(default_factory=dict)

    def headers(self, ref: str) -> dict[str, str]:
        if token := self._read(f"{ref}.token"):
            return {"Authorization": f"Bearer {token}"}
        name, password = self._read(f"{ref}.username"), self._read(f"{ref}.password")
        pair = base64.b64encode(f"{name}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"} if name or password else {}

    def trust(self, ref: str) -> ssl.SSLContext:
        authority = self._read(f"{ref}.ca.crt")
        known = self._trusted.get(ref)
        if known is None or known[0] != authority:
            known = self._trusted[ref] = (authority, _context(authority))
        return known[1]

    def _read(self, name: str) -> str:
        """The file's text; nothing where there is none."""
        if self.folder is None:
            return ""
        try:
            with (self.folder / name).open("rb") as file:
                text = file.read(SECRET_LIMIT).decode().strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError):
            raise PrometheusDenied(f"its credentials cannot be read: {name}") from None
        if not name.endswith(".crt") and not text.isprintable():
            raise PrometheusDenied(f"its credentials are not one line of text: {name}")
        return text


def _context(authority: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=authority or None)
    except (ssl.SSLError, ValueError):
        raise PrometheusDenied("the certificate of its authority is not PEM") from None


class Prometheus:
    """All servers of the settings; `close` when done."""

    def __init__(
        self, servers: Mapping[str, str], credentials: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._servers = dict(servers)
        self._credentials = Credentials(credentials)
        self._clock = clock
        self._room = asyncio.Semaphore(AT_ONCE)
        self._session: aiohttp.ClientSession | None = None
        self._resting: dict[str, tuple[float, str]] = {}  # until when, and what was wrong

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def query(self, ref: str, text: str) -> float | None:
        """The number that a query gives now; None for nothing, NaN, an infinity, or samples that are too old."""
        kind, points = await self._ask(ref, {"query": text})
        if kind not in ("scalar", "vector"):
            raise QueryRefused(f"its result is a {kind}, not a number", where=f"Prometheus {ref}")
        if len(points) > 1:
            what = f"its result has {len(points)} series: put sum() or max() around it"
            raise QueryRefused(what, where=f"Prometheus {ref}")
        return points[0].value if points and math.isfinite(points[0].value) else None

    async def samples(self, ref: str, namespace: str, name: str, revisions: Sequence[str]) -> tuple[PodSample, ...]:
        """The counters of a deployment's servers, as they were scraped last; the stable revision is the first."""

        async def ask(text: str, at: float | None) -> list[Point]:
            form = {"query": text} if at is None else {"query": text, "time": f"{at:.3f}"}
            return (await self._ask(ref, form))[1]

        return await prometheus_samples.read(ask, prometheus_samples.Pods(namespace, name, tuple(revisions)))

    async def _ask(self, ref: str, form: Mapping[str, str]) -> tuple[str, list[Point]]:
        """An instant query, unless the server did not answer just now."""
        if ref not in self._servers:
            known = ", ".join(sorted(self._servers)) or "none"
            raise UnknownServer(f"no Prometheus is called {ref}", do=f"the operator's --prometheus names {known}")
        until, wrong = self._resting.get(ref, (0.0, ""))
        try:
            if wrong and self._clock() < until:
                raise PrometheusDown(wrong)
            found = read_answer(*await self._post(ref, form))
        except PrometheusDown as down:
            if self._clock() >= until:
                self._resting[ref] = (self._clock() + REST_SECONDS, down.what)
            raise PrometheusDown(down.what, where=f"Prometheus {ref}") from None
        except PrometheusError as error:
            raise type(error)(error.what, where=f"Prometheus {ref}") from None
        self._resting.pop(ref, None)
        return found

    async def _post(self, ref: str, form: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body; whatever goes wrong on the way is PrometheusDown, without the address in it."""
        async with self._room:
            try:
                async with asyncio.timeout(DEADLINE_SECONDS):
                    return await self._exchange(ref, {**form, **BOUNDS})
            except TimeoutError:
                raise PrometheusDown(f"no answer within {DEADLINE_SECONDS:g} s") from None
            except (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError):
                raise PrometheusDown("its certificate cannot be verified") from None
            except aiohttp.ClientConnectorDNSError:
                raise PrometheusDown("its name is not known here") from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                number = getattr(error, "errno", None)
                raise PrometheusDown(os.strerror(number) if number else "it breaks off") from None

    async def _exchange(self, ref: str, form: Mapping[str, str]) -> tuple[int, bytes]:
        url, headers = f"{self._servers[ref]}/api/v1/query", self._credentials.headers(ref)
        trust = self._credentials.trust(ref) if url.startswith("https:") else True
        session = self._session = self._session or new_session()
        async with session.post(url, data=form, headers=headers, ssl=trust, allow_redirects=False) as answer:
            body = bytearray()
            async for part in answer.content.iter_any():
                body += part
                if len(body) > ANSWER_LIMIT:
                    raise PrometheusDown(f"its answer is over {ANSWER_LIMIT // 2**20} MiB")
            return answer.status, bytes(body)


def new_session() -> aiohttp.ClientSession:
    """Without cookies, proxies and a deadline of its own: aiohttp's would also run while we wait for room."""
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "tidegate-operator"},
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )
