"""A call of gRPC as a stream of HTTP/2: messages out of DATA, statuses into trailers, deadlines and refusals.

What the head of a call says is read once for each head that the connection remembers, so a usual call costs a frame
of HEADERS that is looked up, a message that is cut out of its DATA, and one write.
"""

from __future__ import annotations

import math
import re
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote

import numpy as np
from hpack import Encoder
from hpack.struct import NeverIndexedHeaderTuple

from tidegate_runtime import grpc_calls
from tidegate_runtime.backpressure import Backpressure
from tidegate_runtime.errors import RequestError, TooLarge
from tidegate_runtime.grpc_calls import UNIMPLEMENTED, Metadata, Method, carry_out
from tidegate_runtime.grpc_log import Noted
from tidegate_runtime.http2.connection import Connection
from tidegate_runtime.http2.frames import Code, StreamFault
from tidegate_runtime.http2.heads import Head
from tidegate_runtime.http2.stream import STREAM_WINDOW, Stream
from tidegate_runtime.request import Limits
from tidegate_runtime.request_log import LEFT
from tidegate_runtime.tls import name_of

PREFIX: Final = struct.Struct(">BL")  # compressed or not, and the length of the message
TIMEOUT: Final = re.compile(r"(\d{1,8})([HMSmun])")
HTTP_OK: Final = 200
MOST_UNREAD: Final = 64  # answers of a stream that its client asks for and does not take
LONGEST_SENTENCE: Final = 1024  # characters; each may become 12 bytes, and headers must fit a frame of 16 KiB
UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
UNESCAPED: Final = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"  # in grpc-message, beside letters and digits
BAD_HTTP: Final = {  # what is no call at all is answered as HTTP does
    "405": b"gRPC is spoken here: POST is expected\n",
    "415": b"gRPC is spoken here: content-type application/grpc is expected\n",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the head of a call says."""

    method: Method | None  # None: not offered
    timeout: float | None  # seconds
    metadata: Mapping[str, str]
    bad: str = ""  # a status of HTTP: it is no call


def asked(head: Head, methods: grpc_calls.Methods) -> Asked:
    """Read a head; what is wrong with it becomes the call's end."""
    kind = head.fields.get("content-type", "")
    if head.method != "POST":
        return Asked(None, None, head.fields, "405")
    if kind != "application/grpc" and not kind.startswith(("application/grpc+", "application/grpc;")):
        return Asked(None, None, head.fields, "415")
    found = TIMEOUT.fullmatch(head.fields.get("grpc-timeout", ""))
    timeout = int(found[1]) * UNITS[found[2]] if found else None
    return Asked(methods.get(head.path), timeout, head.fields)


class GrpcStream(Stream):
    """See `grpc_calls.Call`, and `http2.stream.Stream`."""

    __slots__ = ("_asked", "_filled", "_held", "_kept", "_limits", "_many", "_message", "_method", "_most", "_prefix",
                 "_pressure", "_room", "_started", "_unread", "abandon", "arrived", "noted", "trailing",
                 "waited")  # fmt: skip

    def __init__(
        self, connection: Connection, number: int, head: Head, said: Asked, limits: Limits, pressure: Backpressure
    ) -> None:
        super().__init__(connection, number, head.length)
        self._asked, self._limits, self._pressure = said, limits, pressure
        self._method = said.method
        self._many = said.method is not None and said.method.many
        # Many messages come within the window, whose memory every stream may have, and never ask for more room.
        self._most = min(limits.max_body, STREAM_WINDOW) if self._many else limits.max_body
        self.arrived = time.monotonic()
        self.deadline = self.arrived + limits.body_timeout
        self._held, self._kept = False, 0  # it waits because too many are called; bytes of it that came meanwhile
        self._unread = False  # and nothing more is read of its connection
        self.waited = 0.0
        self.trailing: Metadata = ()
        self.abandon: Callable[[], None] | None = None
        self.noted: Noted | None = None
        self._prefix = b""  # of a message, as far as it has come
        self._room: memoryview | None = None  # for a message that comes in pieces
        self._filled = 0
        self._message: bytes | memoryview | None = None  # the only one of its call, whole
        self._started = False  # the answer has

    # -- what comes

    def begin(self) -> None:
        if self._method is None:
            if not self._asked.bad:
                self.refuse(RequestError("this method is not offered", UNIMPLEMENTED))
        elif self._method.waits and self._pressure.on and self._pressure.holds(self):
            self._held = True
            self.deadline = math.inf if self._asked.timeout is None else self.arrived + self._asked.timeout
        elif self._method.admit is not None:
            carry_out(self, self._method.admit)

    def let_in(self, first: bytes, since: float) -> None:  # noqa: ARG002 - of a call nothing is kept elsewhere
        """It has waited long enough: look at it, and at what came of its message, for the first time."""
        if not self._held:
            return  # that was done when there was no memory for it
        self._let_go()
        self._held = False
        if self.ended:
            return
        now = time.monotonic()
        self.waited, self.deadline = now - since, now + self._limits.body_timeout
        if self._method is not None and self._method.admit is not None:
            carry_out(self, self._method.admit)
        if self._room is not None:
            self._ask_for_rest(self._room)
        if self.remote_ended:
            self.complete()

    def _let_go(self) -> None:
        """Nothing of it is kept in the line any more."""
        self._pressure.keep(-self._kept)
        self._kept = 0
        if self._unread:
            self._unread = False
            self.connection.read_on()

    def _keep(self, size: int) -> None:
        """Take note of what came while it waits.

        When those who wait keep much, its connection is not read any more, other calls included: they would wait as
        well.  When they keep too much, it waits no longer, to be refused where the queue is still full.
        """
        if self._pressure.crammed:
            self.let_in(b"", self.arrived)
            return
        self._kept += size
        self._pressure.keep(size)
        if self._pressure.thrifty and not self._unread:
            self._unread = True
            self.connection.stop_reading()

    def data(self, payload: memoryview) -> None:
        if self._method is None or self.ended:
            return
        if self._held:
            self._keep(len(payload))
            if self.ended:
                return
        if self._room is None and self._message is None and not self._prefix and len(payload) >= PREFIX.size:
            packed, size = PREFIX.unpack_from(payload)
            if len(payload) == size + PREFIX.size and size <= self._most:  # nearly always
                self._whole(packed, bytes(payload[PREFIX.size :]))
                payload = payload[:0]
        while payload and not self.ended:
            payload = self._piece(payload)
        if self._many and not self.ended and self.window < STREAM_WINDOW // 2:
            self.connection.streams.open_window(self, STREAM_WINDOW - self.window)

    def _piece(self, payload: memoryview) -> memoryview:
        """Take what belongs to the next prefix or the rest of a message, and give what is left."""
        if self._room is None:
            if self._many and not self._prefix and self._asked.timeout is None:
                self.deadline = time.monotonic() + self._limits.body_timeout  # what has begun must come to its end
            missing = PREFIX.size - len(self._prefix)
            self._prefix += payload[:missing]
            if len(self._prefix) == PREFIX.size:
                self._make_room(*PREFIX.unpack(self._prefix))
            return payload[missing:]
        size = min(len(payload), len(self._room) - self._filled)
        self._room[self._filled : self._filled + size] = payload[:size]
        self._filled += size
        self._close_room()
        return payload[size:]

    def _make_room(self, packed: int, size: int) -> None:
        if self._message is not None:
            self.refuse(RequestError("the method takes one message", UNIMPLEMENTED))
            return
        if size > self._most:
            self.refuse(TooLarge(f"the message is larger than {self._most} bytes"))
            return
        if packed:
            self._whole(packed, b"")
            return
        self._room, self._filled = np.empty(size, np.uint8).data, 0  # memory is only taken as bytes arrive
        if not self._held:
            self._ask_for_rest(self._room)
        self._close_room()

    def _ask_for_rest(self, room: memoryview) -> None:
        """Have the client send what its window has no room for."""
        missing = len(room) - self._filled - self.window
        if missing > 0 and not self._many:
            self.connection.streams.let_in(self, missing)

    def _close_room(self) -> None:
        if self._room is not None and self._filled == len(self._room):
            message, self._room, self._prefix = self._room, None, b""
            self._whole(0, message)

    def _whole(self, packed: int, message: bytes | memoryview) -> None:
        """A message is here."""
        if packed:
            self.refuse(RequestError("compressed messages are not accepted", UNIMPLEMENTED))
        elif self._method is not None and self._method.many:
            if self.queue is not None and len(self.queue) > MOST_UNREAD:
                raise StreamFault(self.id, Code.ENHANCE_YOUR_CALM)
            carry_out(self, self._method.handle, message)
        else:
            self._message = message

    def complete(self) -> None:
        method, message = self._method, self._message
        if self.ended or self._held:
            return
        if method is None:
            self._answer_http(self._asked.bad)
        elif self._room is not None or self._prefix:
            self.refuse(RequestError("the call ended within a message", 400))
        elif self._many:
            self.finish()
        elif message is None:
            self.refuse(RequestError("the method takes one message", UNIMPLEMENTED))
        else:
            # From now on whoever answers minds the time; a stream of answers goes on as long as the client wants.
            self.deadline = math.inf
            self._message = None
            if self.noted is not None:
                self.noted.received = len(message)
            carry_out(self, method.handle, message)
            if self._started and not self.ended and self._asked.timeout is not None:
                self.deadline = self.arrived + self._asked.timeout

    def lost(self) -> None:
        self._room = self._message = None
        self._let_go()
        abandon, self.abandon = self.abandon, None
        if abandon is not None:
            abandon()
        if self.noted is not None:
            self.noted.end(LEFT, 0)

    def overdue(self) -> None:
        if self.ended:
            return  # `stalled_since` has its end
        if self._asked.bad:
            self._answer_http(self._asked.bad)
        elif self._many and not self._room and not self._prefix and self._asked.timeout is None:
            self.deadline = math.inf  # it may ask again, whenever it wants
        else:
            late = self.remote_ended
            if self.abandon is not None:
                self.abandon()
            self.refuse(RequestError("the call's time is over" if late else "the request took too long to arrive", 408))

    # -- the call

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._asked.metadata

    @property
    def peer(self) -> str:
        return name_of(self.connection.peer_certificate)

    def seconds_left(self) -> float | None:
        timeout = self._asked.timeout
        return None if timeout is None else timeout - (time.monotonic() - self.arrived)

    def send(self, message: bytes) -> None:
        if not self.ended:
            self._start()
            self.connection.out.body(self, PREFIX.pack(0, len(message)) + message)

    def finish(self) -> None:
        if not self.ended:
            self.abandon = None
            self._start()
            self.connection.out.trailers(self, ended(grpc_calls.OK, "", self.trailing))

    def answer(self, message: bytes) -> None:
        if not self.ended:
            self.abandon = None
            body = PREFIX.pack(0, len(message)) + message
            self.connection.out.whole(self, STARTED, body, ended(grpc_calls.OK, "", self.trailing))
            if self.noted is not None:
                self.noted.end(HTTP_OK, len(message))

    def refuse(self, error: RequestError) -> None:
        if self.ended:
            return
        self.abandon = self._room = self._message = None
        self._let_go()
        if self.noted is not None:
            self.noted.end(error.status, 0)
        status, sentence = grpc_calls.status_of(error), error.message[:LONGEST_SENTENCE]
        trailing = grpc_calls.trailing_of(error, self.trailing)
        if self._started:
            self.connection.out.trailers(self, ended(status, sentence, trailing))
        else:
            self.connection.out.only(self, only(status, sentence, trailing))

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self.connection.out.head(self, STARTED)

    def _answer_http(self, status: str) -> None:
        head = packed((":status", status), ("content-type", "text/plain"))
        self.connection.out.head(self, head)
        self.connection.out.body(self, BAD_HTTP[status])
        self.connection.out.trailers(self, b"")


def packed(*fields: tuple[str, str]) -> bytes:
    """Headers as a block that changes no table, so that it can be kept and used on every connection."""
    return Encoder().encode([NeverIndexedHeaderTuple(*field) for field in fields])


STARTED: Final = packed((":status", "200"), ("content-type", "application/grpc"))


@lru_cache(maxsize=64)
def ended(status: int, message: str, trailing: Metadata) -> bytes:
    """The trailers of an answer."""
    fields = [("grpc-status", str(status))]
    if message:
        fields.append(("grpc-message", quote(message, safe=UNESCAPED)))
    return packed(*fields, *trailing)


@lru_cache(maxsize=64)
def only(status: int, message: str, trailing: Metadata) -> bytes:
    """The headers of an answer that is nothing but its end."""
    return STARTED + ended(status, message, trailing)
