"""An API server as kopf sees one: discovery, lists and watches of a few objects, and the ways in which they fail."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from aiohttp import web
from tests.unit.cluster.wire import Wire, serving

from tidegate.cluster.watch import KINDS
from tidegate.plan.manifests.identity import LABEL_DEPLOYMENT, MODEL_DEPLOYMENT, Kind

Object = dict[str, Any]
Refusal = Callable[[web.BaseRequest], web.Response | None]
OTHERS = (Kind("v1", "Namespace", "namespaces"), Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions"))  # fmt: skip
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: a close is a reset
CLUSTER_WIDE = frozenset(kind.plural for kind in OTHERS)


class End(Enum):
    """How a watch ends."""

    CLEAN = auto()
    RESET = auto()


END, RESET = End.CLEAN, End.RESET
Stream = asyncio.Queue[bytes | End]


@dataclass
class Cluster:
    """Objects by kind; `refuse` may answer a request instead, `asked` counts lists and watches by kind.

    A watch begins with what has happened since the version it names; what is not `heard` no open watch is told of.
    """

    objects: dict[Kind, dict[str, Object]] = field(default_factory=dict)
    version: int = 100
    refuse: Refusal = lambda request: None
    asked: Counter[str] = field(default_factory=Counter)
    methods: Counter[str] = field(default_factory=Counter)
    queries: dict[str, dict[str, str]] = field(default_factory=dict)
    page: int = 0
    missing: frozenset[Kind] = frozenset()
    _history: dict[Kind, list[tuple[int, bytes]]] = field(default_factory=dict)
    _streams: dict[Kind, set[Stream]] = field(default_factory=dict)

    # what happens in it

    def put(self, kind: Kind, name: str, owner: str = "fraud", *, heard: bool = True, **more: Any) -> Object:
        before = self.objects.setdefault(kind, {}).get(name)
        about = {"name": name, "namespace": "ns", "uid": f"{kind.plural}-{name}", "resourceVersion": self._next()}
        if kind != MODEL_DEPLOYMENT:
            about["labels"] = {LABEL_DEPLOYMENT: owner}  # type: ignore[assignment]
        obj = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": about, **more}
        self.objects[kind][name] = obj
        self._happen(kind, {"type": "MODIFIED" if before else "ADDED", "object": obj}, heard)
        return obj

    def announce(self, kind: Kind, obj: Object) -> None:
        self._happen(kind, {"type": "MODIFIED", "object": obj}, True)

    def delete(self, kind: Kind, name: str, *, heard: bool = True) -> None:
        obj = self.objects[kind].pop(name)
        gone = {**obj, "metadata": {**obj["metadata"], "resourceVersion": self._next()}}
        self._happen(kind, {"type": "DELETED", "object": gone}, heard)

    def fail_watch(self, kind: Kind, code: int) -> None:
        """Every open watch of the kind gets an ERROR and ends."""
        self.say(kind, line_of({"type": "ERROR", "object": {"kind": "Status", "code": code, "message": "told so"}}))
        self.end_watch(kind)

    def end_watch(self, kind: Kind) -> None:
        self.say(kind, END)

    def reset_watch(self, kind: Kind) -> None:
        """The connection of every open watch of the kind is torn."""
        self.say(kind, RESET)

    def mute_watch(self, kind: Kind) -> None:
        """Open watches of the kind stay open, and are told nothing any more."""
        self._streams[kind] = set()

    def say(self, kind: Kind, piece: bytes | End) -> None:
        for stream in self._streams.get(kind, set()):
            stream.put_nowait(piece)

    @property
    def watched(self) -> set[Kind]:
        return {kind for kind, streams in self._streams.items() if streams}

    def _next(self) -> str:
        self.version += 1
        return str(self.version)

    def _happen(self, kind: Kind, event: Object, heard: bool) -> None:
        line = line_of(event)
        self._history.setdefault(kind, []).append((self.version, line))
        if heard:
            self.say(kind, line)

    # what it answers

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.methods[request.method] += 1
        if refusal := self.refuse(request):
            return refusal
        parts = request.path.strip("/").split("/")
        if (found := self._kind(parts)) is not None:
            return await self._collection(request, found)
        return web.json_response(self._discovery(parts))

    def _kind(self, parts: list[str]) -> Kind | None:
        version = "v1" if parts[0] == "api" else "/".join(parts[1:3])
        known = {(kind.api_version, kind.plural): kind for kind in (*KINDS, *OTHERS)}
        return known.get((version, parts[-1]))

    async def _collection(self, request: web.BaseRequest, kind: Kind) -> web.StreamResponse:
        watching = request.query.get("watch") == "true"
        self.asked[f"{'watch' if watching else 'list'} {kind.plural}"] += 1
        self.queries[kind.plural] = dict(request.query)
        return await self._watch(request, kind) if watching else self._list(request, kind)

    def _list(self, request: web.BaseRequest, kind: Kind) -> web.Response:
        items = [{key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}
                 for _, obj in sorted(self.objects.get(kind, {}).items())]  # fmt: skip
        begin = int(request.query.get("continue", "0"))
        end = begin + self.page if self.page else len(items)
        more = {"continue": str(end)} if end < len(items) else {}
        about = {"resourceVersion": str(self.version), **more}
        document = {"apiVersion": kind.api_version, "kind": f"{kind.kind}List", "metadata": about}
        return web.json_response({**document, "items": items[begin:end]})

    async def _watch(self, request: web.BaseRequest, kind: Kind) -> web.StreamResponse:
        stream: Stream = asyncio.Queue()
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        self._streams.setdefault(kind, set()).add(stream)
        since = int(request.query.get("resourceVersion", "0"))
        for line in [line for version, line in self._history.get(kind, ()) if version > since]:
            stream.put_nowait(line)
        try:
            while not isinstance(piece := await stream.get(), End):
                await response.write(piece)
            if piece is RESET:
                tear(request)
        except ConnectionError:
            pass
        finally:
            self._streams[kind].discard(stream)
        return response

    def _discovery(self, parts: list[str]) -> Object:
        kinds = [kind for kind in (*KINDS, *OTHERS) if kind not in self.missing]
        groups = {kind.api_version.rpartition("/")[0] for kind in kinds} - {""}
        if parts == ["api"]:
            return {"versions": ["v1"]}
        if parts == ["apis"]:
            return {"groups": [_group(name, kinds) for name in sorted(groups)]}
        version = "/".join(parts[1:])
        return {"resources": [_resource(kind) for kind in kinds if kind.api_version == version]}


def line_of(event: Object) -> bytes:
    return json.dumps(event).encode() + b"\n"


def tear(request: web.BaseRequest) -> None:
    """The connection is reset."""
    if request.transport:
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        request.transport.abort()


def _group(name: str, kinds: list[Kind]) -> Object:
    versions = sorted(
        {kind.api_version.rpartition("/")[2] for kind in kinds if kind.api_version.startswith(f"{name}/")}
    )
    return {"name": name, "versions": [{"version": version} for version in versions],
            "preferredVersion": {"version": versions[0]}}  # fmt: skip


def _resource(kind: Kind) -> Object:
    return {"name": kind.plural, "singularName": kind.kind.lower(), "kind": kind.kind,
            "namespaced": kind.plural not in CLUSTER_WIDE, "verbs": ["get", "list", "watch", "patch"]}  # fmt: skip


@asynccontextmanager
async def cluster() -> AsyncIterator[tuple[Cluster, Wire]]:
    found = Cluster()
    async with serving() as wire:
        wire.handle = found.handle
        yield found, wire
