"""The HTTP session that kopf watches through: it lends kopf our credentials and hears what kopf does not tell.

kopf's handlers see single events, never that a list is complete, that an object vanished while no watch was open, or
that a quiet watch is alive.  All of that passes through this session (kopf takes one by `kopf.AiohttpSession`):

- lists go into the cache here, page by page; after the last page what it did not show is forgotten, and the kind is
  *filled*.  kopf is shown empty pages: a task per object, each of which finds nothing to do, cost 4 s for 14,000;
- so does the news of the watches, and kopf is shown a bookmark in its place: parsing it again and its way to a handler
  were two fifths of the operator's CPU time while many objects came up (15 of 39 ms for each);
- whatever error a watch has, kopf is shown that it has expired, and a list that expires between two of its pages is
  shown as one that was broken off: then it lists anew.  Any other error, half a line of JSON, or a page that has
  expired would end it, and us with it;
- every request, and every answer, is a sign of life of its kind.  Watches are short enough (`watch.py`) that a kind
  without any for 150 s is not watched;
- each request carries the token of the moment, so that a token's end is no end of the watches.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, StreamReader
from aiohttp.connector import Connection
from yarl import URL

from tidegate.cluster.api import Key, Object, metadata
from tidegate.cluster.connection import Counted
from tidegate.cluster.login import Login
from tidegate.cluster.seen import Cache, version_of
from tidegate.plan.manifests.identity import Kind

log = logging.getLogger(__name__)

OK, GONE = 200, 410
NEWS = ("ADDED", "MODIFIED", "DELETED")
EXPIRED = orjson.dumps({"type": "ERROR", "object": {"kind": "Status", "code": GONE}})
SHOWN_OF_ERRORS = 300  # bytes, in the log
COLLECTION = re.compile(r"/(?:api/(v1)|apis/([^/]+/[^/]+))(?:/namespaces/([^/]+))?/([a-z]+)$")


@dataclass(frozen=True, slots=True)
class Target:
    """What a request of kopf's is about."""

    kind: Kind
    namespace: str | None
    watching: bool
    going_on: bool  # a page after the first

    @property
    def place(self) -> tuple[Kind, str | None]:
        return self.kind, self.namespace


class Listener:
    """Hears of everything that kopf asks about `kinds`; `changed` is called with each deployment that news is about."""

    def __init__(
        self,
        kinds: Iterable[Kind],
        namespaces: Iterable[str],
        cache: Cache,
        changed: Callable[[Key], None],
        optional: Iterable[Kind] = (),
    ) -> None:
        self.filled = asyncio.Event()
        always = tuple(kinds)
        self._kinds = {(kind.api_version, kind.plural): kind for kind in (*always, *optional)}
        self._places: tuple[str | None, ...] = (*namespaces,) or (None,)
        self._missing: set[tuple[Kind, str | None]] = set()
        self._complete_once: set[tuple[Kind, str | None]] = set()
        self.expect(always)
        self._cache = cache
        self._changed = changed
        self._listed: dict[tuple[Kind, str | None], set[Key]] = {}
        self._heard: dict[Kind, float] = {}

    def expect(self, kinds: Iterable[Kind]) -> None:
        """Kinds that the cluster has: nothing is filled before these are listed."""
        self._missing |= {(kind, place) for kind in kinds for place in self._places}

    def lists(self, kind: Kind) -> bool:
        """Whether all of a kind is known: what an optional one must be before anybody counts on it."""
        return all((kind, place) in self._complete_once for place in self._places)

    def missing(self) -> list[str]:
        """What was not listed yet since the start, for people."""
        return sorted(
            f"{kind.plural} in {namespace}" if namespace else kind.plural for kind, namespace in self._missing
        )

    def ages(self) -> dict[str, float]:
        """Seconds since each kind was last heard of."""
        now = time.monotonic()
        return {kind.plural: now - heard for kind, heard in self._heard.items()}

    def hear(self, kind: Kind) -> None:
        self._heard[kind] = time.monotonic()

    def hear_of_all(self) -> None:
        """The watches start now: a kind that is never asked for is silent from here on."""
        self._heard = dict.fromkeys((kind for kind, _ in self._missing), time.monotonic())

    def forget(self) -> None:
        """The watches have ended: nobody is silent any more."""
        self._heard = {}

    def target(self, url: URL) -> Target | None:
        found = COLLECTION.search(url.path)
        kind = self._kinds.get((found[1] or found[2], found[4])) if found else None
        if not found or not kind:
            return None
        return Target(kind, found[3], url.query.get("watch") == "true", bool(url.query.get("continue")))

    def news(self, kind: Kind, event_type: str | None, obj: Mapping[str, Any]) -> None:
        """An event of a watch."""
        self.hear(kind)
        for key in self._cache.feed(kind, event_type, obj):
            self._changed(key)

    def page(self, target: Target, document: Object) -> Object:
        """Take a page of a list; what is left of it for kopf."""
        if not target.going_on:
            self._listed[target.place] = set()
        items = [item for item in document.get("items") or () if metadata(item).get("name")]
        for item in items:
            about = metadata(item)
            self._listed[target.place].add((str(about.get("namespace") or ""), str(about["name"])))
            self.news(target.kind, None, item)
        if not metadata(document).get("continue"):
            self._complete(target, version_of(metadata(document)))
        return document | {"items": []}

    def _complete(self, target: Target, version: int) -> None:
        shown = self._listed.pop(target.place, set())
        for key in self._cache.prune(target.kind, target.namespace, shown, version):
            self._changed(key)
        if self.filled.is_set() and target.place not in self._complete_once:
            self._begins(target)
        self._complete_once.add(target.place)
        self._missing.discard(target.place)
        if not self._missing:
            self.filled.set()

    def _begins(self, target: Target) -> None:
        """The cluster has got a kind that was not there: whoever has waited for it can go on."""
        log.info("the cluster has %s now", target.kind.plural)
        for key in self._cache.deployments():
            self._changed(key)


def open_session(login: Login, listener: Listener, counted: Counted) -> aiohttp.ClientSession:
    """A session for kopf; to be closed by whoever opened it, for kopf forgets to when it is cancelled."""

    async def overhear(request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
        target = listener.target(request.url)
        if authorization := await login.authorization():
            request.headers["Authorization"] = authorization
        verb = "watch" if target and target.watching else "list" if target else "get"
        began, code = time.monotonic(), "none"
        if target:
            listener.hear(target.kind)
        try:
            response = await send(request)
            code = str(response.status)
        finally:
            counted(verb, code, time.monotonic() - began)
        if target:
            listener.hear(target.kind)
        if target and not target.watching and response.status == GONE:
            response.close()
            raise aiohttp.ClientPayloadError("the list has expired between two of its pages")
        return response

    return login.session(middlewares=(overhear,), response_class=telling(listener))


def document_of(body: bytes) -> Object:
    """What came instead of a list is a broken answer to kopf, which asks again; any other error would end it."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise aiohttp.ClientPayloadError("the list is not a JSON object")
    return found


def telling(listener: Listener) -> type[ClientResponse]:
    """A class of responses that shows lists and watches to the listener while kopf reads them."""

    class Response(ClientResponse):
        async def start(self, connection: Connection) -> ClientResponse:
            started = await super().start(connection)
            target = listener.target(self.url) if self.status == OK else None
            if target and target.watching:
                self.content = Overheard(self.content, target.kind, listener)  # type: ignore[assignment]
            return started

        async def json(self, **options: Any) -> Any:
            target = listener.target(self.url) if self.status == OK else None
            if not target or target.watching:
                return await super().json(**options)
            return listener.page(target, document_of(await self.read()))

    return Response


class Overheard:
    """The stream of a watch; in place of news it has a bookmark, from which kopf goes on when the stream ends."""

    def __init__(self, content: StreamReader, kind: Kind, listener: Listener) -> None:
        self._content, self._kind, self._listener = content, kind, listener

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """How kopf reads it: pieces of lines of JSON."""
        rest = b""
        async for chunk in self._content.iter_chunked(size):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield self._left_of(line) + b"\n"
        # The rest was broken off: the next watch, which begins where the whole lines have ended, has all of it.

    def _left_of(self, line: bytes) -> bytes:
        """What kopf is shown of a line: of news how far it got, of any error that the watch has expired."""
        if not line:
            return line
        event = event_in(line)
        if event is None or event["type"] == "ERROR":
            if event is None or event["object"].get("code") != GONE:
                log.warning("the watch of %s has failed, a list follows: %r", self._kind.plural, line[:SHOWN_OF_ERRORS])
            return EXPIRED
        if event["type"] not in NEWS:
            return line
        about = metadata(event["object"])
        if about.get("name"):
            self._listener.news(self._kind, event["type"], event["object"])
        reached = {name: about[name] for name in ("resourceVersion",) if name in about}
        return orjson.dumps({"type": "BOOKMARK", "object": {"metadata": reached}})


def event_in(line: bytes) -> Object | None:
    """The event of a watch; None where the line is none."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return event if isinstance(event, dict) and "type" in event and isinstance(event.get("object"), dict) else None
