"""Which deployments are to be looked at, and when: each once however often it was named, and by one worker at a time.

First come, first served: a deployment that is named again while it is worked on goes to the back when that is done,
so a busy one starves nobody.  One timer per deployment; it ends when the deployment is taken up, for the plan that is
made then sets the next.  A failure comes back after a pause that doubles, from half a second to five minutes, with
jitter, until `forget`; news of the deployment meanwhile is not held up by it.

Between `stand_by` and `begin` nobody waits; the deployments that were named last are remembered, and come first then.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Collection

from tidegate.cluster.api import Key

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 300.0
MOST_REMEMBERED = 1000


class WorkQueue:
    """To be used from one event loop, by its clock."""

    def __init__(self) -> None:
        self._ready: OrderedDict[Key, float] = OrderedDict()  # since when
        self._busy: set[Key] = set()
        self._again: set[Key] = set()  # named while busy
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._stands_by = False
        self._news = asyncio.Event()

    @property
    def depth(self) -> int:
        """How many wait for a worker now; not those that wait for their time."""
        return 0 if self._stands_by else len(self._ready)

    @property
    def age(self) -> float:
        """Seconds that the first in the line has waited."""
        return self._now() - next(iter(self._ready.values())) if self._ready and not self._stands_by else 0.0

    @property
    def idle(self) -> bool:
        return not self._ready and not self._busy

    def stand_by(self) -> None:
        """There are no workers before `begin`."""
        self._stands_by = True

    def begin(self, there: Collection[Key]) -> None:
        """Workers are there from now on, for all of `there`: first for what has changed last."""
        self._stands_by = False
        present = set(there)
        recent = [key for key in self._ready if key in present]
        self._ready = OrderedDict.fromkeys([*recent, *there], self._now())
        self._news.set()

    def add(self, key: Key) -> None:
        """As soon as a worker is free."""
        if key in self._busy:
            self._again.add(key)
            return
        if key not in self._ready:
            self._ready[key] = self._now()
            self._news.set()
        if self._stands_by:
            self._ready.move_to_end(key, last=False)
            if len(self._ready) > MOST_REMEMBERED:
                self._ready.popitem()

    def add_after(self, key: Key, seconds: float) -> None:
        """In some time, unless a timer that is set already comes earlier."""
        at = self._now() + max(0.0, seconds)
        timer = self._timers.get(key)
        if timer and timer.when() <= at:
            return
        self._stop(key)
        self._timers[key] = asyncio.get_running_loop().call_at(at, self._due, key)

    async def get(self) -> Key:
        """The next one; whoever takes it says `done` when it is."""
        # A look at what is as it should be waits for nothing: after a start thousands in a row would keep the loop from
        # everybody else, and 2,200 on a busy machine (8 s) have cost a leader its lease.
        await asyncio.sleep(0)
        while not self._ready:
            self._news.clear()
            await self._news.wait()
        key, _ = self._ready.popitem(last=False)
        self._busy.add(key)
        self._stop(key)
        return key

    def done(self, key: Key) -> None:
        self._busy.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def failed(self, key: Key, at_least: float = 0.0) -> float:
        """Have it come back after a pause, `at_least` as long as the server asked for; the pause."""
        before = self._failures.get(key, 0)
        self._failures[key] = before + 1
        # Not for secrets: what failed together must not come back together.
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * float(2 ** min(before, 16)))
        pause = max(at_least, longest * random.uniform(0.75, 1.0))  # noqa: S311
        self.add_after(key, pause)
        return pause

    def forget(self, key: Key) -> None:
        """It went well: the next failure is the first."""
        self._failures.pop(key, None)

    def remove(self, key: Key) -> None:
        """The deployment is gone: no timer and no memory of it is left."""
        self.forget(key)
        self._stop(key)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _stop(self, key: Key) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def jittered(seconds: float, share: float = 0.1) -> float:
    """About so long: what was started together must not always fall together."""
    return seconds * random.uniform(1 - share, 1 + share)  # noqa: S311
