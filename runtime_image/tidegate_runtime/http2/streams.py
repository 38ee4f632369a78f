"""The streams of one connection: those under way, those that we ended first, and room for long bodies."""

from __future__ import annotations

from typing import Final

from tidegate_runtime.http2 import frames
from tidegate_runtime.http2.frames import Code, ConnectionFault
from tidegate_runtime.http2.outgoing import Outgoing
from tidegate_runtime.http2.stream import Stream

MOST_STREAMS: Final = 128
MOST_DROPPED: Final = 256


class Streams:
    """`room` is how many bytes all bodies together may have beyond the windows that every stream begins with."""

    __slots__ = ("_granted", "_out", "_room", "_waiting", "active", "dropped", "last", "newest_taken")

    def __init__(self, out: Outgoing, room: int) -> None:
        self._out = out
        self._room, self._granted = room, 0
        self._waiting: dict[int, tuple[Stream, int]] = {}  # by number, in the order in which they asked for room
        self.active: dict[int, Stream] = {}
        self.dropped: dict[int, None] = {}  # in the order in which we ended them: their frames may be on the way
        self.last = 0  # the client's newest
        self.newest_taken = frames.LARGEST_STREAM  # a newer one is for another connection

    def require_known(self, number: int) -> None:
        """Raises ConnectionFault for a stream that the client has not begun."""
        if not number or not number & 1 or number > self.last:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a frame of a stream that has not begun")

    def is_dropped(self, number: int) -> bool:
        """Whether its frames are to be read over."""
        return number in self.dropped or number > self.newest_taken

    def answered(self, stream: Stream) -> None:
        """Everything of its answer is written."""
        if not stream.remote_ended:
            self.reset(stream.id, Code.NO_ERROR)  # the client need not send the rest
        self._remove(stream)

    def reset(self, number: int, code: Code) -> None:
        """End a stream from our side."""
        self._out.write(frames.reset(number, code))
        self.dropped[number] = None
        if len(self.dropped) > MOST_DROPPED:
            del self.dropped[next(iter(self.dropped))]
        if code is not Code.NO_ERROR:
            self.lose(number)

    def lose(self, number: int) -> None:
        """The client does not want it any more, or cannot have it."""
        stream = self.active.get(number)
        if stream is not None:
            self._remove(stream)
            stream.lost()

    def lose_all(self) -> None:
        self._waiting.clear()  # else each makes room for the next
        for number in list(self.active):
            self.lose(number)

    # -- long bodies

    def let_in(self, stream: Stream, more: int) -> None:
        """Ask the client for `more` bytes than its window has, as soon as there is room for them.

        One stream alone is always let in.
        """
        if self._granted and self._granted + more > self._room:
            self._waiting[stream.id] = (stream, more)
            return
        self._granted += more
        stream.granted += more
        self.open_window(stream, more)

    def open_window(self, stream: Stream, more: int) -> None:
        stream.window += more
        self._out.write(frames.window_update(stream.id, more))

    def _remove(self, stream: Stream) -> None:
        del self.active[stream.id]
        self._waiting.pop(stream.id, None)
        stream.over = True
        self._out.forget(stream)
        if stream.granted:
            self._granted -= stream.granted
        while self._waiting:
            waiting, more = next(iter(self._waiting.values()))
            if self._granted and self._granted + more > self._room:
                break
            del self._waiting[waiting.id]
            self.let_in(waiting, more)
