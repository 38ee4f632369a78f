"""What a client sends, frame by frame: the rules of RFC 9113, and what bounds a client that plays with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tidegate_runtime.http2 import frames
from tidegate_runtime.http2.frames import ACK, END_HEADERS, END_STREAM, Code, ConnectionFault, StreamFault
from tidegate_runtime.http2.heads import LARGEST_BLOCK, Head, HeadReader, Malformed
from tidegate_runtime.http2.patience import Patience
from tidegate_runtime.http2.stream import Stream
from tidegate_runtime.http2.streams import MOST_STREAMS

if TYPE_CHECKING:
    from tidegate_runtime.http2.connection import Connection

CONNECTION_WINDOW: Final = 16 * 2**20  # given back as bytes are read: what bounds memory are the streams' windows
GIVE_BACK: Final = CONNECTION_WINDOW // 4
TINY_WINDOW: Final = 1024
SETTINGS_ACK: Final = frames.frame(frames.SETTINGS, ACK, 0)


class Incoming:
    """The receiving half of a connection. Handlers raise StreamFault and ConnectionFault."""

    __slots__ = ("_block", "_block_flags", "_block_stream", "_connection", "_first", "_heads", "_out", "_patience",
                 "_read", "_streams", "_window")  # fmt: skip

    def __init__(self, connection: Connection, patience: Patience) -> None:
        self._connection = connection
        self._out, self._streams, self._patience = connection.out, connection.streams, patience
        self._heads = HeadReader()
        self._first = True  # the next frame must be SETTINGS
        self._block: bytearray | None = None  # of headers, while CONTINUATION must follow
        self._block_stream = self._block_flags = 0
        self._window, self._read = CONNECTION_WINDOW, 0

    def frames(self, view: memoryview) -> int:
        """Handle every whole frame; where the first one that is cut begins. Raises ConnectionFault."""
        at, end, unpack, size = 0, len(view), frames.HEADER.unpack_from, frames.HEADER_SIZE
        while end - at >= size and not self._connection.ending:
            high, low, kind, flags, stream = unpack(view, at)
            if high or low > frames.LARGEST_FRAME:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a frame is larger than 16 KiB")
            stop = at + size + low
            if stop > end:
                break
            if self._first or self._block is not None:
                self._require_expected(kind, flags)
            try:
                if kind < len(HANDLERS):
                    HANDLERS[kind](self, flags, stream & frames.LARGEST_STREAM, view[at + size : stop])
                else:
                    self._patience.spend()  # of a kind that is not known, to be left alone
            except StreamFault as fault:
                self._patience.spend()
                self._streams.reset(fault.stream, fault.code)
            at = stop
        if self._read >= GIVE_BACK:
            self._window += self._read
            self._out.write(frames.window_update(0, self._read))
            self._read = 0
        return at

    @property
    def amid(self) -> bool:
        """Whether the first frame, or the rest of a block of headers, is still to come."""
        return self._first or self._block is not None

    def _require_expected(self, kind: int, flags: int) -> None:
        if self._block is not None and kind != frames.CONTINUATION:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a block of headers must go on")
        if self._first:
            if kind != frames.SETTINGS or flags & ACK:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "the first frame must be SETTINGS")
            self._first = False
            self._connection.rest()

    # -- frames

    def _on_data(self, flags: int, number: int, payload: memoryview) -> None:
        size = len(payload)
        self._window -= size
        self._read += size
        if self._window < 0:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "more data than the connection's window")
        stream = self._streams.active.get(number)
        if stream is None or stream.remote_ended:
            self._on_late_data(number)
            return
        payload = frames.unpadded(payload, flags)
        stream.window -= size
        if stream.window < 0:
            raise StreamFault(number, Code.FLOW_CONTROL_ERROR)
        if size > len(payload):
            self._patience.spend()
            self._streams.open_window(stream, size - len(payload))
        if payload:
            stream.received += len(payload)
            stream.data(payload)
        elif not flags & END_STREAM:
            self._patience.spend()
        if flags & END_STREAM:
            self._complete(stream)

    def _on_late_data(self, number: int) -> None:
        """DATA for a stream that takes none."""
        self._streams.require_known(number)
        if number in self._streams.active or not self._streams.is_dropped(number):
            raise StreamFault(number, Code.STREAM_CLOSED)

    def _on_headers(self, flags: int, number: int, payload: memoryview) -> None:
        if not number & 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a client's streams have odd numbers")
        payload = frames.unpadded(payload, flags)
        if flags & frames.WITH_PRIORITY:
            if len(payload) < frames.PRIORITY_SIZE:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "HEADERS is too short for its priority")
            if _depends_on(payload) == number:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a stream cannot depend on itself")
            payload = payload[frames.PRIORITY_SIZE :]
        if flags & END_HEADERS:
            self._on_block(flags, number, bytes(payload))
            return
        self._block, self._block_stream, self._block_flags = bytearray(payload), number, flags
        self._connection.hurry()

    def _on_continuation(self, flags: int, number: int, payload: memoryview) -> None:
        block = self._block
        if block is None or number != self._block_stream:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "CONTINUATION continues nothing")
        self._patience.spend()
        block += payload
        if len(block) > LARGEST_BLOCK:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, f"a block of more than {LARGEST_BLOCK} bytes of headers")
        if flags & END_HEADERS:
            self._block = None
            self._connection.rest()
            self._on_block(self._block_flags, number, bytes(block))

    def _on_block(self, flags: int, number: int, block: bytes) -> None:
        """A whole block: it must be read whatever becomes of it, since the next ones build upon it."""
        streams = self._streams
        try:
            head = self._heads.read(block)
        except Malformed:
            streams.last = max(streams.last, number)
            raise StreamFault(number, Code.PROTOCOL_ERROR) from None
        stream = streams.active.get(number)
        if stream is not None:
            self._on_trailers(stream, head, flags)
        elif number > streams.last:
            streams.last = number
            self._begin(number, head, flags)
        elif not streams.is_dropped(number):
            raise ConnectionFault(Code.STREAM_CLOSED, "HEADERS on a stream that has ended")

    def _begin(self, number: int, head: Head, flags: int) -> None:
        """A new request."""
        if number > self._streams.newest_taken:
            return
        if not head.method:
            raise StreamFault(number, Code.PROTOCOL_ERROR)
        if len(self._streams.active) >= MOST_STREAMS:
            raise StreamFault(number, Code.REFUSED_STREAM)
        stream = self._connection.begin(number, head)
        if flags & END_STREAM and not stream.over:
            self._complete(stream)

    def _on_trailers(self, stream: Stream, head: Head, flags: int) -> None:
        if stream.remote_ended:
            raise StreamFault(stream.id, Code.STREAM_CLOSED)
        if head.method or not flags & END_STREAM:
            raise StreamFault(stream.id, Code.PROTOCOL_ERROR)
        self._complete(stream)

    def _complete(self, stream: Stream) -> None:
        """The client has said everything."""
        stream.remote_ended = True
        if stream.over:
            self._streams.dropped.pop(stream.id, None)
        elif stream.length is not None and stream.length != stream.received:
            raise StreamFault(stream.id, Code.PROTOCOL_ERROR)
        else:
            stream.complete()

    def _on_priority(self, flags: int, number: int, payload: memoryview) -> None:  # noqa: ARG002 - a handler
        self._patience.spend()
        if not number:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "PRIORITY of no stream")
        if len(payload) != frames.PRIORITY_SIZE:
            raise StreamFault(number, Code.FRAME_SIZE_ERROR)
        if _depends_on(payload) == number:
            raise StreamFault(number, Code.PROTOCOL_ERROR)

    def _on_reset(self, flags: int, number: int, payload: memoryview) -> None:  # noqa: ARG002 - a handler
        frames.require_size(payload, frames.NUMBER.size, "RST_STREAM")
        self._streams.require_known(number)
        self._patience.spend()
        self._streams.dropped.pop(number, None)
        self._streams.lose(number)

    def _on_settings(self, flags: int, number: int, payload: memoryview) -> None:
        if number:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "SETTINGS of a stream")
        if flags & ACK:
            frames.require_size(payload, 0, "an acknowledgement of SETTINGS")
            return
        if len(payload) % frames.SETTING.size:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "SETTINGS must have six bytes for each")
        self._patience.spend()
        for name, value in frames.SETTING.iter_unpack(payload):
            self._patience.spend()  # each may be a walk over all streams
            if name == frames.ENABLE_PUSH and value > 1:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")
            self._out.setting(name, value, self._streams.active)
        self._out.write(SETTINGS_ACK)

    def _on_push(self, flags: int, number: int, payload: memoryview) -> None:  # noqa: ARG002 - a handler
        raise ConnectionFault(Code.PROTOCOL_ERROR, "a client cannot push")

    def _on_ping(self, flags: int, number: int, payload: memoryview) -> None:
        if number:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "PING of a stream")
        frames.require_size(payload, frames.PING_SIZE, "PING")
        if flags & ACK:
            self._connection.pong(bytes(payload))
            return
        self._patience.spend()
        self._out.write(frames.frame(frames.PING, ACK, 0, bytes(payload)))

    def _on_goaway(self, flags: int, number: int, payload: memoryview) -> None:  # noqa: ARG002 - a handler
        if number:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "GOAWAY of a stream")
        self._patience.spend()

    def _on_window_update(self, flags: int, number: int, payload: memoryview) -> None:  # noqa: ARG002 - a handler
        frames.require_size(payload, frames.NUMBER.size, "WINDOW_UPDATE")
        more = frames.NUMBER.unpack(payload)[0] & frames.LARGEST_WINDOW
        if more < TINY_WINDOW:
            self._patience.spend()  # an answer in crumbs costs a frame for each
        if not number:
            if not more:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a window that is opened by nothing")
            self._out.opened(more)
            return
        self._streams.require_known(number)
        if not more:
            raise StreamFault(number, Code.PROTOCOL_ERROR)
        stream = self._streams.active.get(number)
        if stream is not None:
            self._out.opened_for(stream, more)


def _depends_on(priority: memoryview) -> int:
    number: int = frames.NUMBER.unpack_from(priority)[0]
    return number & frames.LARGEST_STREAM


Handler = Callable[[Incoming, int, int, memoryview], None]
HANDLERS: Final[tuple[Handler, ...]] = (  # by type of frame
    Incoming._on_data,
    Incoming._on_headers,
    Incoming._on_priority,
    Incoming._on_reset,
    Incoming._on_settings,
    Incoming._on_push,
    Incoming._on_ping,
    Incoming._on_goaway,
    Incoming._on_window_update,
    Incoming._on_continuation,
)
