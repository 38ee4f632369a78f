"""One client's connection: bytes to requests (httptools), requests to routes, answers back in order.

Small requests are read into one buffer that all connections share; the body of a large one goes from the kernel
straight to where its tensors will be read, aligned, without another copy (R 0.85 -> 0.86 for 110 KB).

A connection answers one request at a time; what is pipelined behind it waits, parsed, up to a limit.  All limits of
the outside are here: header size, body size before and while it arrives, pipelined requests, time for each.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Any, Final, cast

import httptools
import orjson

from tidegate_runtime.answers import CLOSE, CONTINUE, JSON, KEEP, head
from tidegate_runtime.errors import BadRequest, RequestError
from tidegate_runtime.inflate import encoding_of
from tidegate_runtime.pipeline import Pipeline
from tidegate_runtime.request import FIRST, KEPT, SCRATCH, Front, Request
from tidegate_runtime.request_log import LEFT, answered_over_http

MOST_HEADER: Final = 64 * 1024
MOST_DROPPED: Final = 64 * 1024  # of a body that is refused
LINGER_SECONDS: Final = 1.0
VERSIONS: Final = ("1.1", "1.0")
LOG = logging.getLogger(__name__)
Where = int  # in a message
IDLE, HEADER, BODY = 0, 1, 2


class Connection(asyncio.BufferedProtocol):
    """The protocol object of one client; made by the server, one per accepted socket."""

    __slots__ = ("_at", "_bulk", "_continue", "_deadline", "_dropped", "_ending", "_filled", "_front", "_full",
                 "_header_bytes", "_parser", "_paused", "_pending", "_received", "_request", "_skip", "_tail", "_timed",
                 "_transport", "_unread", "_waited", "abandon", "busy", "idle_since", "lingering")  # fmt: skip

    def __init__(self, front: Front) -> None:
        self._front = front
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._request = Request()
        self._pending = Pipeline()
        self._at: Where = IDLE  # where in a message the parser is
        self._timed: Where = IDLE  # which part of it `_deadline` belongs to
        self._received = self._header_bytes = self._dropped = self._filled = 0
        self._bulk: memoryview | None = None  # where the large body that arrives goes
        self._skip = False  # the body that arrives belongs to a refused request
        self._ending = False  # after the answers that are due nothing more is read
        self._continue = False  # a client waits for "100 Continue"
        self._unread, self._tail = False, b""  # a request has begun and waits (backpressure.py), what came after that
        self._waited = 0.0  # how long the one that arrives did so
        self._full = self._paused = False  # the client reads slower than we write; nothing is read
        self.abandon: Callable[[], None] | None = None  # what to do when the client leaves before its answer
        self.busy: Request | None = None
        self.lingering = False
        self.idle_since = time.monotonic()  # opened, or answered
        self._deadline = self.idle_since + front.limits.idle_timeout

    # -- the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._front.opened(self):
            self.answer(503, orjson.dumps({"error": "too many connections"}))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._front.closed(self)
        self._pending.clear()
        if self.abandon is not None:
            self.abandon()
        if self._front.log is not None and self.busy is not None:
            self._front.log.note(answered_over_http(self.busy, LEFT, 0, self._transport))
        self.busy = self.abandon = None

    def pause_writing(self) -> None:
        """The client reads slower than it asks: it gets no further answer and is not listened to until it has read."""
        self._full = True
        self._stop_reading()

    def resume_writing(self) -> None:
        self._full = False
        if self.lingering:
            self._deadline = time.monotonic() + LINGER_SECONDS
        elif self.busy is None:
            self._rest()
            self._advance()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        if self._bulk is not None:
            return self._bulk[self._filled :]
        little = self._unread or (self._front.pressure.thrifty and self._at is IDLE and not self._ending)
        return self._front.first if little else self._front.scratch

    def buffer_updated(self, nbytes: int) -> None:
        if self._bulk is None:
            data = self._front.scratch[:nbytes]
            if self._unread:
                self._tail += data
                self._stop_reading()
            elif not (self._at is IDLE and self._front.pressure.on and self._waits(data)):
                self._read(data)
            return
        self._filled += nbytes
        if self._filled == len(self._bulk):
            self._request.body, self._bulk = self._bulk, None
            self._parser = httptools.HttpRequestParser(self)  # the old one never saw the end of this body
            self.on_message_complete()

    def _waits(self, data: memoryview) -> bool:
        """Whether the request that begins here waits, because too many do."""
        free = self.busy is None and not (self._pending or self._ending or self._full)
        if not free or not self._front.pressure.holds_back(self, data):
            return False
        self._unread, self._tail, self._deadline = True, b"", math.inf
        if len(data) in (FIRST, SCRATCH):  # there is more of it, which stays in the kernel
            self._stop_reading()
        return True

    def let_in(self, first: bytes, since: float) -> None:
        """Read on where `first` ends; the request began to wait at `since`."""
        if self._transport.is_closing():
            return
        self._unread, self._waited = False, time.monotonic() - since
        self._at = HEADER  # which the parser does not say before a path
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self._read(memoryview(first + self._tail))

    def _read(self, data: memoryview) -> None:
        if self._ending:
            self._drop(len(data))
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._ending = True  # not offered: the request is answered as if it had not asked
        except httptools.HttpParserCallbackError:  # a fault of ours, in what the parser calls
            LOG.exception("reading a request failed")
            self._break_off(RequestError("internal error"))
        except httptools.HttpParserError:
            self._break_off(BadRequest("malformed HTTP request"))
        if self._at is not IDLE:
            self._mind_the_time(len(data))

    # -- the parser's calls

    def on_url(self, url: bytes) -> None:
        self._at = HEADER
        self._request.url += url
        self._header_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        key = name.lower()
        if key in KEPT and self._at is HEADER:  # and not in a trailer, which no proxy has looked at
            headers = self._request.headers
            headers[key] = headers[key] + b", " + value if key in headers else value  # as if they had been one

    def on_headers_complete(self) -> None:
        if self._ending:
            return
        request = self._request
        self._at = BODY
        request.method = self._parser.get_method()
        request.keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        version = self._parser.get_http_version()
        request.old = version == "1.0"
        try:
            if version not in VERSIONS:
                raise RequestError("HTTP/1.1 is expected", 505)
            if self._header_bytes > MOST_HEADER:
                raise RequestError("the header is larger than 64 KiB", 431)
            self._accept(request)
        except RequestError as error:
            self._refuse_early(request, error)

    def on_body(self, body: bytes) -> None:
        self._received = 0
        if self._skip or self._ending:
            self._drop(len(body))
            return
        request = self._request
        if self._bulk is not None:
            self._bulk[self._filled : self._filled + len(body)] = body
            self._filled += len(body)
        elif request.chunks is None:
            request.body = bytes(request.body) + body if request.body else body
        elif len(request.chunks) + len(body) > self._front.limits.max_body:
            self._break_off(self._front.limits.too_large())
        else:
            request.chunks += body  # a list could hold millions of chunks of one byte

    def on_message_complete(self) -> None:
        if self._ending:
            return
        request, self._request = self._request, Request()
        if request.chunks is not None:
            request.body = request.chunks
        self._at = self._timed = IDLE
        self._received = self._header_bytes = 0
        self._skip = False
        request.arrived = time.monotonic() - self._waited  # its wait unread counts, and not its way to us
        self._waited = 0.0
        if self.busy is None and not self._pending and not self._full:
            self._handle(request)
        else:
            self._queue(request)

    # -- requests

    def _accept(self, request: Request) -> None:
        """Look at the header before any of the body is read."""
        route = self._front.route(request)
        route.require(request.method)
        headers = request.headers
        if b"content-encoding" in headers:
            request.encoding = encoding_of(headers[b"content-encoding"])
        length = int(headers.get(b"content-length", b"0"))
        if length > self._front.limits.max_body:
            raise self._front.limits.too_large()
        if route.refusal is not None and (refusal := route.refusal(request)) is not None:
            raise refusal
        if b"transfer-encoding" in headers:
            request.chunks = bytearray()
        elif length > SCRATCH:
            self._bulk, self._filled = request.room(length), 0
        if b"expect" in headers and headers[b"expect"].lower() == b"100-continue" and not request.old:
            self._ask_for_body()

    def _ask_for_body(self) -> None:
        if self.busy is None and not self._pending:
            self._transport.write(CONTINUE)
        else:
            self._continue = True

    def _refuse_early(self, request: Request, error: RequestError) -> None:
        """Refuse before the body: a short one is read and dropped, before a long one the connection ends."""
        open_ended = b"transfer-encoding" in request.headers or b"expect" in request.headers
        if open_ended or int(request.headers.get(b"content-length", b"0")) > MOST_DROPPED:
            self._break_off(error)
        else:
            request.refusal = error  # answered when the message is complete
            self._skip = True

    def _break_off(self, error: RequestError) -> None:
        """Answer `error` in its turn, then end the connection; what still arrives is dropped."""
        if self._ending:
            return
        self._ending = True
        self._at, self._timed, self._bulk = IDLE, IDLE, None
        request = self._request
        request.keep_alive, request.refusal = False, error
        request.arrived = time.monotonic()
        self._queue(request)
        self._advance()

    def _queue(self, request: Request) -> None:
        self._pending.add(request)
        if self._pending.full:
            self._stop_reading()

    def _stop_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _advance(self) -> None:
        while self._pending and self.busy is None and not self.lingering and not self._full:
            self._handle(self._pending.next())
        if self._paused and not self._pending.full and not self._ending and not self._full:
            self._paused = False
            self._transport.resume_reading()
        if self._continue and self.busy is None and not self._pending:
            self._continue = False
            self._transport.write(CONTINUE)
            self._rest()  # its body must come within its time

    def _handle(self, request: Request) -> None:
        self.busy = request
        self._deadline = math.inf
        if request.refusal is not None or request.route is None:
            self.refuse(request.refusal or BadRequest("malformed HTTP request"))
            return
        try:
            request.route.methods[request.method](self, request)
        except RequestError as error:
            self.refuse(error)
        except Exception:  # a fault of ours: the client gets an answer, the log the reason
            LOG.exception("%s failed", request.route)
            self.refuse(RequestError("internal error"))

    # -- answers

    def refuse(self, error: RequestError) -> None:
        """Answer with the protocol's error."""
        self.answer(error.status, orjson.dumps({"error": error.message}), more=error.headers)

    def answer(self, status: int, body: bytes, *, kind: bytes = JSON, more: bytes = b"") -> None:
        """Write the answer of the request being handled, and go on with the next one."""
        request, self.busy, self.abandon = self.busy, None, None
        last = self._is_last(request)
        if last:
            more += CLOSE
        elif request is not None and request.old:
            more += KEEP
        before = head(status, kind, len(body), self._front.head + more)
        if request is not None and request.method == b"HEAD":
            body = b""
        self._transport.write(before + body)
        if self._front.log is not None and request is not None:
            self._front.log.note(answered_over_http(request, status, len(body), self._transport))
        if last:
            self._linger(len(body))
        elif (self._pending or self._continue) and not self._full:
            asyncio.get_running_loop().call_soon(self._advance)  # not deeper and deeper down the stack
        else:
            self._rest()

    def _is_last(self, request: Request | None) -> bool:
        if request is None or not request.keep_alive:
            return True
        if self._pending or self._at is not IDLE:
            return False
        return self._front.closing or self._ending

    def _linger(self, sent: int) -> None:
        """Say that nothing more is written and let the client close: closing at once could reset its answer away."""
        self.lingering = self._ending = True
        self._pending.clear()
        plain = self._transport.can_write_eof()
        slow = self._full or (not plain and sent > SCRATCH)  # TLS does not tell how much of an answer is still here
        self._deadline = time.monotonic() + (self._front.limits.body_timeout if slow else LINGER_SECONDS)
        if not plain:
            self._transport.close()  # sends all, says so in its own words, and drops what comes until the client does
        elif not self._transport.is_closing():
            self._transport.write_eof()

    def _drop(self, size: int) -> None:
        """Count what nobody wants; beyond the limit it is no longer read, and the linger time ends the connection."""
        self._dropped += size
        if self._dropped > MOST_DROPPED and self._ending:
            self._stop_reading()

    # -- time

    def _rest(self) -> None:
        """Nothing is being handled: the client has its idle time, or the time to read its answer."""
        limits = self._front.limits
        self._timed = IDLE
        self.idle_since = time.monotonic()
        self._deadline = self.idle_since + (limits.body_timeout if self._full else limits.idle_timeout)
        if self._at is not IDLE:
            self._mind_the_time(0)

    def _mind_the_time(self, received: int) -> None:
        """In the middle of a message: its deadline runs from its first byte, and its header and trailer have a size."""
        self._received += received  # since its first byte or the last one of its body
        if self._received > MOST_HEADER:
            self._break_off(RequestError("the header is larger than 64 KiB", 431))
            return
        if self._timed is not self._at and self.busy is None:
            self._timed = self._at
            limits = self._front.limits
            self._deadline = time.monotonic() + (limits.header_timeout if self._at is HEADER else limits.body_timeout)

    @property
    def idle(self) -> bool:
        """Nothing is asked and nothing is half said."""
        return not (self.busy or self._pending or self._unread or self.lingering) and self._at is IDLE

    def sweep(self, now: float) -> None:
        """End what is over its time; called by the server a few times a second."""
        if now < self._deadline:
            return
        if self.lingering or self._full:
            self._transport.abort()
        elif self._at is IDLE:
            self._transport.close()
        else:
            self._break_off(RequestError("the request took too long to arrive", 408))

    def close(self) -> None:
        self.lingering, self._deadline = True, time.monotonic() + LINGER_SECONDS  # with TLS the client is waited for
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    @property
    def socket(self) -> Any:
        return self._transport.get_extra_info("socket")
