"""The clock and the timers of an event loop, without the loop: turns are driven by hand and time by the story.

The product's queue asks the running loop for the time and for timers and for nothing else; nothing that is awaited in
a turn ever waits, because the API server is in memory.  So one `send` runs a whole turn, and the state of everything is
plain objects, which can be copied in the middle of a story.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from tests.fakes.clock import Clock

T = TypeVar("T")


class Timer:
    """As `asyncio.TimerHandle`."""

    def __init__(self, at: float, call: Callable[..., object], given: tuple[Any, ...]) -> None:
        self.at = at
        self.call = call
        self.given = given
        self.cancelled = False

    def when(self) -> float:
        return self.at

    def cancel(self) -> None:
        self.cancelled = True


class Timers:
    """What of a loop the queue knows."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timers: list[Timer] = []

    def time(self) -> float:
        return self._clock.monotonic()

    def call_at(self, at: float, call: Callable[..., object], *given: Any) -> Timer:
        timer = Timer(at, call, given)
        self._timers.append(timer)
        return timer

    def fire(self) -> None:
        """Call those that are due."""
        due = sorted((timer for timer in self._live() if timer.at <= self.time()), key=Timer.when)
        self._timers = [timer for timer in self._live() if timer.at > self.time()]
        for timer in due:
            timer.call(*timer.given)

    def next(self) -> float | None:
        """Seconds until the next one is due."""
        return min((max(0.0, timer.at - self.time()) for timer in self._live()), default=None)

    def dues(self) -> list[float]:
        """In how many seconds each is due."""
        return sorted(round(timer.at - self.time(), 3) for timer in self._live())

    def _live(self) -> list[Timer]:
        return [timer for timer in self._timers if not timer.cancelled]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Whoever asks for the running loop meanwhile is given this; news may come in the middle of a turn."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(cast(asyncio.AbstractEventLoop, self))
        try:
            yield
        finally:
            asyncio._set_running_loop(before)


class OnItsWay:
    """Whoever awaits this waits until the test goes on with it."""

    def __await__(self) -> Generator[OnItsWay, None, None]:
        yield self


def driven(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing but its turn."""
    try:
        while True:
            waits = work.send(None)
            assert waits is None, "it waits for something: it would hang"
    except StopIteration as end:
        return cast(T, end.value)


def started(work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T] | None:
    """Run it until something is on its way; the rest of it then."""
    try:
        while True:
            if isinstance(work.send(None), OnItsWay):
                return work
    except StopIteration:
        return None
