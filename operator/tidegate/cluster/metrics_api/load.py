"""How much work a deployment's servers have: their counters, read when somebody asks, and never more than the limits.

Two askers within a second share a reading; an old reading is the beginning of the next window.  Where one of the
servers has none yet, all of them are read a second time a second later.  All of the operator's reads of pods share one
number of connections (`measure.py`), each has its own deadline, and of many servers a part stands for all.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tidegate.cluster.api import Key, Object
from tidegate.cluster.measure import METRICS_PORT, address_of
from tidegate.cluster.observe import is_ready
from tidegate.cluster.seen import Cache
from tidegate.errors import Temporary, TidegateError
from tidegate.internal.calls import Address, call
from tidegate.plan.load import Reading, Window, parse_reading, same_life
from tidegate.plan.manifests.identity import LABEL_COMPONENT, LABEL_REVISION, POD, SERVER

MOST_SERVERS = 128  # of one deployment that are read for one answer
FRESH_SECONDS = 1.0
FIRST_SECONDS = 1.0  # the window of who was never read
WINDOW_SECONDS = 5.0  # at least, where there are readings that old
REMEMBERED_SECONDS = 90.0
DEADLINE_SECONDS = 10.0  # of one answer, which an autoscaler waits for 30 s


class Unread(Temporary):
    """There is nobody to read, or too few servers have told what they count."""


@dataclass(slots=True)
class History:
    """Readings of one server, the oldest first; one turn at a time."""

    readings: deque[Reading] = field(default_factory=deque)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def add(self, reading: Reading) -> None:
        """Remember it, and forget what no window begins with any more."""
        if self.readings and not same_life(self.readings[-1], reading):
            self.readings.clear()
        self.readings.append(reading)
        while len(self.readings) > 1 and self.readings[0].at < reading.at - REMEMBERED_SECONDS:
            self.readings.popleft()
        while len(self.readings) > 2 and self.readings[1].at <= reading.at - WINDOW_SECONDS:  # noqa: PLR2004
            self.readings.popleft()

    @property
    def began(self) -> float | None:
        """When a window of this server alone would begin; None where there is no reading but the last one."""
        return self.readings[0].at if len(self.readings) > 1 else None

    def window(self, began: float) -> Window:
        """From the reading next to that time to the last one."""
        *earlier, now = self.readings
        return Window(min(earlier, key=lambda reading: abs(reading.at - began)), now)


class Loads:
    """Reads servers' /metrics on demand; `room` is the operator's for all of its requests to pods."""

    def __init__(self, cache: Cache, room: asyncio.Semaphore, clock: Callable[[], float] = time.monotonic) -> None:
        self._cache = cache
        self._room = room
        self._clock = clock
        self._histories: dict[str, History] = {}  # by the pod's uid

    async def windows(self, key: Key, revision: str = "") -> tuple[list[Window], int]:
        """What the ready servers of a deployment have counted lately, and how many of them there are.

        Raises Unread where none is ready, or fewer than half of them answer in time.
        """
        ready = self._servers(key, revision)
        if not ready:
            raise Unread(f"no server of {key[1]} is ready")
        chosen = spread(ready, MOST_SERVERS)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                histories = await self._read(chosen)
        except TimeoutError:
            raise Unread(f"the servers of {key[1]} were not read within {DEADLINE_SECONDS:g} s") from None
        windows = together(histories)
        if 2 * len(windows) < len(chosen):
            raise Unread(f"{len(windows)} of {len(chosen)} servers of {key[1]} have told what they count")
        return windows, len(ready)

    def _servers(self, key: Key, revision: str) -> list[Object]:
        return [
            pod
            for pod in self._cache.of_kind(POD, *key)
            if is_server(pod, revision) and is_ready(pod) and address_of(pod)
        ]

    async def _read(self, pods: Sequence[Object]) -> list[History]:
        """Their histories, each with a reading of now where they answer, and one of before."""
        self._forget()
        read = await self._look_at_all(pods)
        if any(history.began is None for history in read):
            await asyncio.sleep(FIRST_SECONDS)
            read = await self._look_at_all(pods)
        return read

    async def _look_at_all(self, pods: Sequence[Object]) -> list[History]:
        """The histories of those that answer."""
        read = await asyncio.gather(*map(self._look, pods))
        return [history for history in read if history]

    async def _look(self, pod: Object) -> History | None:
        """The pod's history with a fresh reading; None where it does not answer."""
        history = self._histories.setdefault(str(pod["metadata"]["uid"]), History())
        async with history.turn:
            if history.readings and self._clock() - history.readings[-1].at < FRESH_SECONDS:
                return history
            try:
                async with self._room:
                    answer = await call(Address(METRICS_PORT, address_of(pod)), "GET", "/metrics")
                history.add(parse_reading(answer.body, self._clock()))
            except TidegateError:
                return None
        return history

    def _forget(self) -> None:
        """Servers that nobody has asked for in a while, or that are gone."""
        oldest = self._clock() - REMEMBERED_SECONDS
        for uid, history in list(self._histories.items()):
            if not history.turn.locked() and (not history.readings or history.readings[-1].at < oldest):
                del self._histories[uid]


def together(histories: Sequence[History]) -> list[Window]:
    """Windows that all begin at about the same time.

    Load moves from old servers to one that has just begun: with a longer window for the old ones it would count twice,
    and an autoscaler remembers that for five minutes.
    """
    known = [(history, history.began) for history in histories]
    latest = max((began for _, began in known if began is not None), default=0.0)
    return [history.window(latest) for history, began in known if began is not None]


def is_server(pod: Object, revision: str) -> bool:
    """Whether it serves that revision, or any, and is not on its way out."""
    labels = pod["metadata"].get("labels") or {}
    if labels.get(LABEL_COMPONENT) != SERVER or pod["metadata"].get("deletionTimestamp"):
        return False
    return not revision or labels.get(LABEL_REVISION) == revision


def spread(pods: Sequence[Object], most: int) -> list[Object]:
    """At most so many of them, evenly taken from all."""
    step = max(1.0, len(pods) / most)
    return [pods[int(number * step)] for number in range(min(len(pods), most))]
