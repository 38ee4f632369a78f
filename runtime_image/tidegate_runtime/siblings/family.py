"""The main process's side: starts siblings, hands connections over, adds up what they count, ends them without a loss.

A sibling that dies is started again, later each time; one that cannot live ends the server, with its reason.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Final

from tidegate.endings import signal_name
from tidegate.errors import Temporary, TidegateError
from tidegate_runtime.logs import log
from tidegate_runtime.server import Server
from tidegate_runtime.serving import Observed
from tidegate_runtime.siblings import wire
from tidegate_runtime.siblings.counts import Plain, Seconds
from tidegate_runtime.siblings.life import Life
from tidegate_runtime.siblings.together import Together
from tidegate_runtime.statistics import Statistics, Sums

OWN: Final = object()  # this process, among those that count
TICK_SECONDS: Final = 0.2  # how old the counts may be that are told
SILENT_SECONDS: Final = 30.0  # a sibling that says nothing for so long hangs
LIVED_SECONDS: Final = 60.0  # what lived so long has not failed to live
FIRST_PAUSE: Final = 0.5
MOST_DEATHS: Final = 5  # in a row, over some ten seconds
LOOK_SECONDS: Final = 0.02


class SiblingDied(Temporary):
    """A process of `--workers` cannot be kept alive; the bundle is not to blame, the main process has proved it."""

    reason = "SiblingDied"


def pause(deaths: int) -> float | None:
    """Seconds before it is started again after so many deaths in a row; None: not any more."""
    return None if deaths >= MOST_DEATHS else FIRST_PAUSE * 2 ** (deaths - 1)


class Family:
    """`interfaces.Processes` for the metrics port, `Spreader` for whoever accepts, `Door` for the end."""

    def __init__(
        self, parts: Observed, server: Server, further: Callable[[], Mapping[str, int]], most_connections: int
    ) -> None:
        self.counters = Together(parts.recorder, further())
        self.restarts = 0
        self.statistics: Statistics | None = None  # of this process
        self._parts, self._server, self._further, self._most = parts, server, further, most_connections
        self._seconds = Seconds(parts.recorder)
        self._loop = asyncio.get_running_loop()
        self._lives: list[Life] = []
        self._places: list[asyncio.Task[bool]] = []
        self._all_ready = self._loop.create_future()
        self._departed = Sums()
        self._ending = asyncio.Event()

    async def start(self, count: int, hello: wire.Hello, give_up: Callable[[TidegateError], None]) -> None:
        """Start `count` siblings and wait until each serves; raises TidegateError when one cannot.

        Later, when one dies again and again, `give_up` is called, and nothing is started any more.
        """
        self._places = [asyncio.create_task(self._keep_alive(hello, give_up)) for _ in range(count)]
        await self._all_ready
        self._tick()

    # -- for the metrics port, from any thread

    @property
    def alive(self) -> int:
        return 1 + sum(life.ready for life in self._lives)

    @property
    def dropped(self) -> int:
        return self.counters.dropped

    @property
    def further(self) -> Mapping[str, int]:
        return self.counters.further

    @property
    def queued(self) -> int:
        return self._parts.admission.queued + sum(life.report.queued for life in self._lives if life.report)

    @property
    def in_flight(self) -> int:
        return self._parts.admission.in_flight + sum(life.report.in_flight for life in self._lives if life.report)

    @property
    def unread(self) -> int:
        return self._parts.admission.unread + sum(life.report.unread for life in self._lives if life.report)

    @property
    def connections(self) -> int:
        return self._parts.admission.connections + self.elsewhere

    def aim(self) -> None:
        """The siblings shadow to where this process does, too; one that is not ready yet hears of it when it is."""
        self._loop.call_soon_threadsafe(self._tell_target)

    # -- for whoever accepts

    @property
    def elsewhere(self) -> int:
        return sum(life.connections for life in self._lives)

    def hand_over(self, client: socket.socket) -> bool:
        """Whether a sibling with fewer connections than this process has taken it."""
        here = self._server.connections
        if here + self.elsewhere >= self._most:
            return False  # it is refused here
        ready = [life for life in self._lives if life.ready]
        fewest = min(ready, key=lambda life: life.connections, default=None)
        return fewest is not None and fewest.connections < here and fewest.give(client)

    def shut_doors(self) -> None:
        """Nobody accepts any more: when they drain, the siblings finish and exit."""
        for life in self._lives:
            life.shut_door()

    # -- for the end

    def drain(self) -> None:
        """Every answer ends its connection from now on, and nothing is started again."""
        self._ending.set()
        for life in self._lives:
            if life.ready:
                life.say(wire.Drain())
            else:
                life.kill()  # nobody has asked it anything

    async def end(self, in_time: Callable[[], bool]) -> bool:
        """Wait until every sibling has answered what it was asked; whether all did."""
        while (left := [place for place in self._places if not place.done()]) and in_time():
            await asyncio.wait(left, timeout=LOOK_SECONDS)
        for life in self._lives:
            life.kill()
        return not left and all(place.result() for place in self._places)

    # -- lives

    async def _keep_alive(self, hello: wire.Hello, give_up: Callable[[TidegateError], None]) -> bool:
        """One place: a process, and after its death another. Whether the last one had answered everything."""
        deaths = 0
        while True:
            life = Life(self._heard, self._is_ready, self._parts.slots.inherited)
            self._lives.append(life)
            code = await life.live(hello)
            self._bury(life)
            if self._ending.is_set():
                return code == 0 or not life.ready
            error = _reason(life, code)
            if not self._all_ready.done():
                self._all_ready.set_exception(error)
                return False
            deaths = 1 if time.monotonic() - life.began > LIVED_SECONDS else deaths + 1
            seconds = pause(deaths)
            log("error", "a sibling process died", reason=error.reason, message=str(error), again_in_seconds=seconds)
            if seconds is None:
                give_up(error)
                return False
            if await self._ends_within(seconds):
                return True
            self.restarts += 1

    async def _ends_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._ending.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _is_ready(self, life: Life) -> None:
        life.say(wire.Aim(self._parts.shadow.target))
        if sum(life.ready for life in self._lives) == len(self._places) and not self._all_ready.done():
            self._all_ready.set_result(None)

    def _bury(self, life: Life) -> None:
        """What it told stays in all counts."""
        self._lives.remove(life)
        self._departed = self._departed.plus(life.sums)
        self.counters.depart(life)

    def _heard(self, life: Life, report: wire.Report) -> None:
        self.counters.absorb(life, report.plain, report.seconds)

    def _tell_target(self) -> None:
        for life in self._lives:
            life.say(wire.Aim(self._parts.shadow.target))

    # -- counts

    def _tick(self) -> None:
        """Take what this process counted, make all of it readable, tell it around, and look who hangs."""
        ready = [life for life in self._lives if life.ready]
        recorder = self._parts.recorder
        until = recorder.until()
        plain = Plain.of(recorder, self._parts.shadow.dropped, self._further())
        self.counters.absorb(OWN, plain, self._seconds.before(until))
        self.counters.close(min([until, *(life.until for life in ready)]))
        self._parts.health.sibling_reason = next(
            (life.report.hopeless for life in ready if life.report and life.report.hopeless), ""
        )
        self._tell_statistics(ready)
        now = time.monotonic()
        for life in ready:
            if now - life.heard > SILENT_SECONDS:
                life.kill()
        self._loop.call_later(TICK_SECONDS, self._tick)

    def _tell_statistics(self, ready: list[Life]) -> None:
        if self.statistics is None:
            return
        own = self.statistics.sums()
        self.statistics.others = reduce(Sums.plus, (life.sums for life in self._lives), self._departed)
        for life in ready:
            elsewhere = (other.sums for other in self._lives if other is not life)
            life.say(wire.Others(reduce(Sums.plus, elsewhere, self._departed.plus(own))))


def _reason(life: Life, code: int) -> SiblingDied:
    """What is known of a death."""
    if life.failed is not None:
        return SiblingDied(f"a process of --workers failed: {life.failed.message}", reason=life.failed.reason)
    how = f"was ended by {signal_name(-code)}" if code < 0 else f"exited with {code}"
    return SiblingDied(f"a process of --workers {how}", do="give the pod memory for that many copies of the model")
