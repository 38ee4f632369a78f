"""The server of the page: its files, the stream of events, and where there is a person to act for, their acts.

Bounded all the way: so many pages, so long for a piece to be taken, so large a request.  At the end every stream is
closed, and whoever wrote a request gets its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Protocol

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from tidegate.dashboard import guard
from tidegate.dashboard.board import Key
from tidegate.dashboard.publishing import Publisher
from tidegate.dashboard.stream import event, events, position_of
from tidegate.errors import Failed, TidegateError

PAGES = 32  # streams at once
BEAT_SECONDS = 10.0
TAKE_SECONDS = 10.0  # for a piece to fit into what the system keeps for the reader
PACE_SECONDS = 0.04  # between two looks for one page: a burst is one update
REQUEST_SECONDS = 10.0
BODY_BYTES = 4096
MAX_STEPS = 20  # of a rollout, as the API has it: its types would take the memory that the page has
ACTS = frozenset({"promote", "promote-full", "abort", "retry", "pause", "resume"})
STREAM = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}  # nginx would keep events to itself
TYPES = {
    "html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml",
}  # fmt: skip


class Acts(Protocol):
    """What a person may do, with their own rights."""

    async def refusal(self, namespace: str) -> str:
        """Why they may not act in a namespace; nothing where they may."""
        ...

    async def act(self, key: Key, verb: str, step: int | None) -> str:
        """Do it, a promotion to the step that was seen; a sentence. Raises TidegateError."""
        ...


@dataclass(frozen=True, slots=True)
class Shown:
    """What is served to whom: the rollouts of `place`; without a token to everybody, without acts for reading only."""

    place: str
    publisher: Publisher
    token: str = ""
    acts: Acts | None = None
    names: Collection[str] = field(default=())  # that the page may be asked by, besides localhost and addresses


class Dashboard:
    """One server of the page."""

    def __init__(self, shown: Shown, pages: int = PAGES) -> None:
        self._shown = shown
        self._pages = pages
        self._ending = asyncio.Event()
        self._files = page_files()
        app = web.Application(middlewares=[self._guarded], client_max_size=BODY_BYTES)
        for path in self._files:
            app.router.add_get(path, self._file)
        app.router.add_get("/events", self._events)
        if shown.acts:
            app.router.add_get("/rights", self._rights)
            app.router.add_post("/act", self._act)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=2.0, keepalive_timeout=15.0, handler_cancellation=True
        )

    async def start(self, host: str, port: int, flag: str) -> int:
        """Listen; the port that it became, where 0 was asked for. `flag` is what chooses another."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            why = error.strerror if isinstance(error, OSError) else None
            raise Failed(
                f"cannot listen: {why or error}", where=f"{host}:{port}", do=f"choose another {flag}",
                reason="PortTaken",
            ) from None  # fmt: skip
        address: tuple[str, int] = self._runner.addresses[0]
        return address[1]

    async def stop(self) -> None:
        """End the streams, answer what was asked, and close."""
        self._ending.set()
        await self._runner.cleanup()

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not guard.host_is_ours(request.headers.get("Host", ""), self._shown.names):
            answer: web.StreamResponse = refused(421, "this name is not ours: use localhost, or allow it")
        elif guard.is_from_elsewhere(request.headers) and request.path != "/":  # a link to the page is none of it
            answer = refused(403, "another site's page may not ask")
        elif not self._may_read(request):
            answer = refused(401, "the key is missing or old: open the address that `tidegate dashboard` printed")
        else:
            answer = await self._answered(request, handler)
        if not answer.prepared:
            answer.headers.update(guard.HEADERS)
        return answer

    def _may_read(self, request: web.Request) -> bool:
        """The files hold nothing of the cluster, and a browser asks for them without our header."""
        token = self._shown.token
        return not token or request.path in self._files or guard.knows(token, request.headers)

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            return refused(error.status, error.reason)

    async def _file(self, request: web.Request) -> web.Response:
        body, kind = self._files[request.path]
        return web.Response(body=body, headers={"Content-Type": kind})

    # -- the stream

    async def _events(self, request: web.Request) -> web.StreamResponse:
        publisher = self._shown.publisher
        if publisher.readers >= self._pages:
            return refused(503, f"{self._pages} pages are open already: close some")
        stream = web.StreamResponse(headers=STREAM | guard.HEADERS)
        with publisher.reading() as news:
            await stream.prepare(request)
            try:
                await self._tell(stream, news, request.headers.get("Last-Event-ID", ""))
            except (TimeoutError, ConnectionError):
                if request.transport:
                    request.transport.abort()  # it reads too slowly, or has left: nothing is kept for it
        return stream

    async def _tell(self, stream: web.StreamResponse, news: asyncio.Event, last: str) -> None:
        board = self._shown.publisher.board
        hello = {"place": self._shown.place, "acts": self._shown.acts is not None}
        await take(stream, event("hello", orjson.dumps(hello)))
        position = position_of(board, last)
        while not self._ending.is_set():
            news.clear()
            if position is None or position != board.position:
                changes = board.since(position)
                for piece in events(board, changes):
                    await take(stream, piece)
                position = changes.position
            else:
                await take(stream, event("beat", b"{}"))
            await asyncio.sleep(PACE_SECONDS)
            await self._next(news)

    async def _next(self, news: asyncio.Event) -> None:
        """Until there is news, the time for a beat, or the end."""
        waits = [asyncio.ensure_future(one.wait()) for one in (news, self._ending)]
        try:
            await asyncio.wait(waits, timeout=BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    # -- acts

    async def _rights(self, request: web.Request) -> web.Response:
        assert self._shown.acts
        try:
            why = await self._shown.acts.refusal(request.query.get("namespace", ""))
        except TidegateError as error:
            return failed(error)
        return answered({"refusal": why})

    async def _act(self, request: web.Request) -> web.Response:
        assert self._shown.acts
        if not guard.acts_from_our_page(request.headers):
            return refused(403, "only the page itself may act")
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                key, verb, step = wanted(await request.read())
        except (TimeoutError, ValueError):
            return refused(400, "an act is {namespace, name, verb}, that of promote with its step")
        try:
            return answered({"message": await self._shown.acts.act(key, verb, step)})
        except TidegateError as error:
            return failed(error)


async def take(stream: web.StreamResponse, piece: bytes) -> None:
    """Send a piece; raises TimeoutError when the other side does not take it in time."""
    async with asyncio.timeout(TAKE_SECONDS):
        await stream.write(piece)


def wanted(body: bytes) -> tuple[Key, str, int | None]:
    """What an act is about; raises ValueError.

    Whoever promotes says which step they saw: the rollout may have moved on, and the next gate is not theirs to pass.
    """
    found = orjson.loads(body)
    if not isinstance(found, dict):
        raise ValueError
    step = found.pop("step", None)
    if set(found) != {"namespace", "name", "verb"} or (step is None) == (found["verb"] == "promote"):
        raise ValueError
    if step is not None and (type(step) is not int or not 1 <= step <= MAX_STEPS):
        raise ValueError
    namespace, name, verb = (found[field] for field in ("namespace", "name", "verb"))
    if not all(isinstance(text, str) for text in (namespace, name, verb)) or not name or verb not in ACTS:
        raise ValueError
    return (namespace, name), verb, step


def answered(document: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json")


def refused(status: int, what: str) -> web.Response:
    return answered({"error": {"what": what}}, status)


def failed(error: TidegateError) -> web.Response:
    said = {"reason": error.reason, "what": error.what, "where": error.where, "do": error.do}
    return answered({"error": said}, 409)


def page_files() -> dict[str, tuple[bytes, str]]:
    """The files of the page by their path, with their types."""
    folder = files("tidegate.dashboard") / "page"
    found = {f"/{file.name}": (file.read_bytes(), TYPES[file.name.rpartition(".")[2]]) for file in folder.iterdir()}
    return {"/": found["/index.html"], **found}
