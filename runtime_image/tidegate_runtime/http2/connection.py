"""The protocol object of one client: its socket, its clock, and how it ends without losing a request.

It ends in two steps (RFC 9113, section 6.8).  GOAWAY with the largest number says that the end is near; a PING behind
it comes back when the client has read that, and by then everything that it had sent before is here.  So the second
GOAWAY names the last stream, and what the client sends after it, it knows to send elsewhere.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any, Final, cast

from tidegate_runtime.http2 import frames
from tidegate_runtime.http2.frames import Code, ConnectionFault
from tidegate_runtime.http2.heads import LARGEST_LIST, Head
from tidegate_runtime.http2.incoming import CONNECTION_WINDOW, Incoming
from tidegate_runtime.http2.outgoing import Outgoing
from tidegate_runtime.http2.patience import Patience
from tidegate_runtime.http2.port import Port
from tidegate_runtime.http2.stream import STREAM_WINDOW, Stream
from tidegate_runtime.http2.streams import MOST_STREAMS, Streams

LINGER_SECONDS: Final = 2.0  # for the client to close, which it does when it has read everything
QUIET_SECONDS: Final = 1.0  # a client that has asked nothing need not hear of the end
PING_SECONDS: Final = 60.0  # of silence, until we ask whether the client is still there
GONE_SECONDS: Final = 20.0  # without an answer to that
STILL_THERE: Final = frames.frame(frames.PING, 0, 0, b"tg-there")
ENDING: Final = b"tg-ends!"
END_IS_NEAR: Final = frames.goaway(frames.LARGEST_STREAM, Code.NO_ERROR) + frames.frame(frames.PING, 0, 0, ENDING)
OFFER: Final = frames.settings(
    {
        frames.MAX_CONCURRENT_STREAMS: MOST_STREAMS,
        frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
        frames.MAX_HEADER_LIST_SIZE: LARGEST_LIST,
    }
) + frames.window_update(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW)


class Connection(asyncio.BufferedProtocol):
    """Made by the server, one per accepted socket."""

    __slots__ = ("_deadline", "_draining", "_ended", "_full_since", "_greeting", "_heard", "_incoming", "_kept",
                 "_patience", "_pinged", "_port", "_transport", "_unwanted", "ending", "out", "streams")  # fmt: skip

    def __init__(self, port: Port) -> None:
        self._port = port
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._patience = Patience()
        self.out = Outgoing(self._write, self._answered)
        self.streams = Streams(self.out, port.limits.max_body)
        self._incoming = Incoming(self, self._patience)
        self._greeting = frames.PREFACE  # what must still come before the first frame
        self._kept = b""  # the beginning of a frame whose rest has not come
        self.ending = False  # nothing is read any more
        self._draining = False
        self._unwanted = 0  # so many want nothing to be read
        self._full_since = self._pinged = self._ended = math.inf
        self._heard = time.monotonic()
        self._deadline = self._heard + port.limits.header_timeout

    # -- the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._port.opened(self):
            self._write(OFFER)
        else:  # without a word: who has seen our settings takes the connection for a good one, and tries again at once
            self.ending = True
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.ending = True
        self.streams.lose_all()
        self._port.closed(self)

    def eof_received(self) -> bool | None:
        return None  # the client is gone: close

    def pause_writing(self) -> None:
        """Who does not read what we write is not read either: whatever is read makes more to write."""
        self._full_since = time.monotonic()
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._full_since = math.inf
        self._read_if_wanted()

    def stop_reading(self) -> None:
        """Leave what comes to the kernel, and so to the client, until `read_on` was called as often as this."""
        self._unwanted += 1
        self._pinged = math.inf  # its answer will not be read
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def read_on(self) -> None:
        self._unwanted -= 1
        self._heard = time.monotonic()
        if self._incoming.amid:
            self.hurry()  # headers had no time meanwhile
        self._read_if_wanted()

    def _read_if_wanted(self) -> None:
        if not self._unwanted and self._full_since == math.inf and not self._transport.is_closing():
            self._transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        kept, scratch = self._kept, self._port.scratch
        if not kept:
            return scratch
        scratch[: len(kept)] = kept
        return scratch[len(kept) :]

    def buffer_updated(self, nbytes: int) -> None:
        view = self._port.scratch[: len(self._kept) + nbytes]
        self._kept = b""
        if self.ending:
            return
        self._heard, self._pinged = time.monotonic(), math.inf
        try:
            if self._greeting:
                view = self._greeted(view)
            at = self._incoming.frames(view)
        except ConnectionFault as fault:
            self._fail(fault)
            return
        if at < len(view):
            self._kept = bytes(view[at:])

    def _greeted(self, view: memoryview) -> memoryview:
        """What follows the preface, which may come in pieces."""
        size = min(len(self._greeting), len(view))
        if view[:size] != self._greeting[:size]:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "HTTP/2 is spoken here, and gRPC over it")
        self._greeting = self._greeting[size:]
        return view[size:]

    def _write(self, data: bytes) -> None:
        self._transport.write(data)

    # -- requests

    def begin(self, number: int, head: Head) -> Stream:
        """A new request; it may be answered already."""
        stream = self.streams.active[number] = self._port.begin(self, number, head)
        self._deadline = math.inf
        stream.begin()
        return stream

    def _answered(self, stream: Stream) -> None:
        self.streams.answered(stream)
        self._patience.answered()
        self.rest()

    # -- the end

    def drain(self) -> None:
        """Tell the client to go elsewhere; what it has asked is answered."""
        if self._draining or self.ending:
            return
        self._draining = True
        self._heard = time.monotonic()
        self._write(END_IS_NEAR)

    def pong(self, content: bytes) -> None:
        """The client has answered a PING."""
        if content != ENDING or not self._draining:
            return
        self.streams.newest_taken = self.streams.last
        self._write(frames.goaway(self.streams.last, Code.NO_ERROR))
        self.rest()

    def _fail(self, fault: ConnectionFault) -> None:
        """What the client did cannot be gone on from."""
        self._write(frames.goaway(self.streams.last, fault.code, fault.sentence))
        self.streams.lose_all()
        self._linger()

    def _linger(self) -> None:
        """Say that nothing more is written and let the client close: closing at once could reset an answer away."""
        self.ending = True
        self._ended = time.monotonic()
        self._deadline = self._ended + LINGER_SECONDS
        if not self._transport.can_write_eof():  # TLS
            self._transport.close()
        elif not self._transport.is_closing():
            self._transport.write_eof()

    def abort(self) -> None:
        self._transport.abort()

    # -- time

    def hurry(self) -> None:
        """Headers have begun and must come to their end."""
        self._deadline = time.monotonic() + self._port.limits.header_timeout

    def rest(self) -> None:
        """Something has come to its end: with nothing under way the client has its idle time, or the end is here."""
        if self.ending or self._incoming.amid:  # headers have their own time
            return
        if self.streams.active:
            self._deadline = math.inf
        elif self._draining and self.streams.newest_taken != frames.LARGEST_STREAM:
            self._linger()
        else:
            self._deadline = time.monotonic() + self._port.limits.idle_timeout

    def sweep(self, now: float) -> None:
        """End what is over its time; called by the server a few times a second."""
        longest = self._port.limits.body_timeout
        if now > self._full_since + longest or now > self._pinged + GONE_SECONDS:
            self.abort()
        elif now > self._deadline:
            if self.ending or not self._unwanted:  # else what it should have sent may be in the kernel
                self._overdue(now)
        elif not self.ending:
            self._look(now)
        for stream in list(self.streams.active.values()):
            if now > stream.stalled_since + longest:
                self.streams.reset(stream.id, Code.CANCEL)
            elif now > stream.deadline:
                stream.overdue()

    def _look(self, now: float) -> None:
        """Nothing is over its time: is there anything under way, and anybody?"""
        if self._unwanted:
            return  # there is, and what the client says is not read
        if not self.streams.active and self._deadline == math.inf:
            self.rest()  # the client has reset the last of its streams
        if self._draining and not self.streams.active and now > self._heard + QUIET_SECONDS:
            self._linger()
        elif now > self._heard + PING_SECONDS and self._pinged == math.inf:
            self._pinged = now
            self._write(STILL_THERE)

    def _overdue(self, now: float) -> None:
        if self.ending:
            slow = self._transport.get_write_buffer_size() and now < self._ended + self._port.limits.body_timeout
            if not slow:  # else the client still reads its last answers
                self.abort()
        elif self._incoming.amid or self._greeting:
            self._fail(ConnectionFault(Code.ENHANCE_YOUR_CALM, "the headers took too long to arrive"))
        else:
            self.drain()
            self._deadline = math.inf  # its answer, or silence, ends it

    @property
    def peer_certificate(self) -> Any:
        """What `ssl.SSLSocket.getpeercert` says of the client."""
        return self._transport.get_extra_info("peercert")
