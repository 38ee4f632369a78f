"""Inference over HTTP, the same for every protocol that does it: read, start, and give up when the client leaves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tidegate_runtime.clients import INFER
from tidegate_runtime.errors import RequestError
from tidegate_runtime.http import Connection
from tidegate_runtime.inference import Inferring, Reply
from tidegate_runtime.inflate import inflate
from tidegate_runtime.interfaces import Array
from tidegate_runtime.request import Request
from tidegate_runtime.routes import Route

Asked = tuple[dict[str, Array], float, Reply]  # feeds, the client's own limit in seconds (0.0: none), its answer
Read = Callable[[Connection, Request], Asked]


def inference_route(inferring: Inferring, read: Read, max_body: int) -> Route:
    """Where requests are answered that `read` understands, of at most `max_body` bytes when they are unpacked.

    `read` raises RequestError for all others.
    """
    return Route({b"POST": partial(_infer, inferring, read, max_body)}, inferring.refusal, INFER)


def _infer(inferring: Inferring, read: Read, max_body: int, connection: Connection, request: Request) -> None:
    try:
        if request.encoding is not None:  # now and not while it arrives: a minute's wait must not cost memory
            request.body = inflate(request.body, request.encoding, max_body)
        feeds, seconds, reply = read(connection, request)
        short = inferring.is_short(len(request.body))
        call = inferring.start(feeds, reply, arrived=request.arrived, seconds=seconds, short=short, source=request)
    except RequestError as error:
        inferring.refused(error, arrived=request.arrived, source=request)
        connection.refuse(error)
        return
    connection.abandon = partial(inferring.left, call)
