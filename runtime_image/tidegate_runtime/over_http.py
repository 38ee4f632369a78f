"""Inference over HTTP, the same for every protocol that does it: read, start, and give up when the client leaves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tidegate_runtime.errors import RequestError
from tidegate_runtime.http import Connection
from tidegate_runtime.inference import Inferring, Reply
from tidegate_runtime.interfaces import Array, Kind
from tidegate_runtime.request import Request
from tidegate_runtime.routes import Route

Asked = tuple[dict[str, Array], float, Reply]  # feeds, the client's own limit in seconds (0.0: none), its answer
Read = Callable[[Connection, Request], Asked]


def inference_route(inferring: Inferring, read: Read) -> Route:
    """Where requests are answered that `read` understands; it raises RequestError for all others."""
    return Route({b"POST": partial(_infer, inferring, read)}, inferring.admits)


def _infer(inferring: Inferring, read: Read, connection: Connection, request: Request) -> None:
    kind = _kind_of(request)
    try:
        feeds, seconds, reply = read(connection, request)
        short = inferring.is_short(len(request.body))
        call = inferring.start(feeds, reply, arrived=request.arrived, seconds=seconds, short=short, kind=kind)
    except RequestError as error:
        inferring.refused(error, arrived=request.arrived, kind=kind)
        connection.refuse(error)
        return
    connection.abandon = partial(inferring.left, call)


def _kind_of(request: Request) -> Kind:
    """Whether the request's version was chosen by the split or pinned by the client."""
    return "pinned" if b"x-tidegate-pinned" in request.headers else "requests"
