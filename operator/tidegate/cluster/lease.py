"""One operator at a time: who holds the Lease may write, and knows when it may no longer.

    at most   what happens after the last renewal that the server confirmed
    2 s       the next renewal; each request is given up after 3 s
    10 s      nothing was confirmed: we have lost it and stop writing (the process then ends)
    15 s      others may take it

So there are 5 s between our last write and another's first.  All of it runs on a clock that counts suspended time and
cannot be set: others' leases are judged by when *we* saw them change, never by the times written in them.
An unlucky restart cannot lead twice: our name in the Lease proves nothing, only what this process has written does.
The elector of `kubernetes.aio` is no alternative: it cannot create a Lease, and leads on when the API hangs.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from tidegate.cluster.errors import AlreadyExists, ClusterError, Conflict, NotFound

log = logging.getLogger(__name__)

Spec = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds; see the table above."""

    lease: float = 15.0
    deadline: float = 10.0
    renew: float = 2.0
    request: float = 3.0
    release: float = 2.0


@dataclass(frozen=True, slots=True)
class Held:
    """What a Lease says, and the resource version that it said it in."""

    version: str
    spec: Spec

    @property
    def holder(self) -> str:
        return str(self.spec.get("holderIdentity") or "")

    @property
    def seconds(self) -> float:
        """How long its holder claims it after each renewal; nonsense counts as nothing."""
        found = self.spec.get("leaseDurationSeconds")
        return float(found) if isinstance(found, int) and found > 0 else 0.0


class LeaseStore(Protocol):
    """One Lease, wherever it is kept. Raises the errors of `tidegate.cluster.errors`."""

    async def read(self) -> Held | None: ...
    async def create(self, spec: Spec) -> Held: ...
    async def replace(self, spec: Spec, version: str) -> Held: ...


def uptime() -> float:
    """Seconds that a suspended machine counts too: it must not wake up and believe that it leads."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def always() -> bool:
    return True


def wall() -> datetime:
    return datetime.now(UTC)


class Elector:
    """Takes the lease, keeps it, and says when it is gone: `lost` is set once and for ever."""

    def __init__(
        self,
        store: LeaseStore,
        identity: str,
        times: Times | None = None,
        clock: Callable[[], float] = uptime,
        able: Callable[[], bool] = always,
    ) -> None:
        self.identity = identity
        self.lost = asyncio.Event()
        self._store = store
        self._times = times or Times()
        self._clock = clock
        self._able = able  # to lead: who is not leaves the lease to others
        self._mine: Held | None = None
        self._confirmed = float("-inf")  # when the last renewal that was confirmed had been sent
        self._attempted: tuple[str, str] | None = None
        self._seen = ""  # version of another's lease …
        self._others_until = float("-inf")  # … and until when it is believed
        self._renewing: asyncio.Task[None] | None = None
        self._fence: asyncio.TimerHandle | None = None
        self._over = False
        self._complaint = ""

    def left(self) -> float:
        """Seconds until others may take the lease, or 0 when nothing may be begun any more."""
        passed = self._clock() - self._confirmed
        ended = self._over or self.lost.is_set() or passed >= self._times.deadline
        return 0.0 if ended else self._times.lease - passed

    def holds(self) -> bool:
        return self.left() > 0

    def overdue(self) -> bool:
        """Whether we led, and neither renewed in time nor gave up: this process is stuck."""
        return self._mine is not None and not self.holds()

    async def acquire(self) -> None:
        """Return as soon as we lead."""
        while not await self._try():  # noqa: ASYNC110 - the lease is elsewhere: nobody can tell us
            await asyncio.sleep(self._pause())
        self._renewing = asyncio.create_task(self._keep(), name="lease")

    async def release(self) -> None:
        """Hand the lease over, at the latest when the others' patience ends; call it after the last write."""
        task, self._renewing = self._renewing, None
        mine, self._mine = (self._mine if self.holds() else None), None
        self._over = True
        if self._fence:
            self._fence.cancel()
        if task:
            task.cancel()
            await asyncio.wait({task}, timeout=self._times.release)
        if self._attempted:
            await self._hand_over(mine)
            self._attempted = None  # tried once, for the process has little time

    async def _try(self) -> bool:
        """Take the lease if it is nobody's; whatever goes wrong is tried again."""
        try:
            async with asyncio.timeout(self._times.request):
                held = await self._store.read()
            if not self._free(held) or not self._able():
                return False
            await self._take(held)
        except (ClusterError, TimeoutError) as error:
            self._complain(f"the lease cannot be read or taken: {told(error)}")
            return False
        log.info("leading as %s", self.identity)
        return True

    def _pause(self) -> float:
        """Until the next look: spread among standbys, and not past the end of a lease that nobody renews."""
        left = self._others_until - self._clock()
        pause = self._times.renew * random.uniform(0.5, 0.8)  # noqa: S311
        return min(pause, left) if left > 0 else pause

    def _complain(self, what: str) -> None:
        """Once, not every two seconds for as long as it lasts."""
        if what != self._complaint:
            self._complaint = what
            log.warning("%s", what)

    def _free(self, held: Held | None) -> bool:
        now = self._clock()
        if held and (not held.holder or self._is_ours(held)):
            return True
        if held and held.version != self._seen:
            self._seen, self._others_until = held.version, now + max(held.seconds, self._times.lease)
        # Where somebody deleted it, who had it writes on until its next renewal: that is waited for too.
        return now >= self._others_until

    def _is_ours(self, held: Held) -> bool:
        """Whether this very process wrote it, in an attempt whose answer never came."""
        return self._attempted == (held.holder, str(held.spec.get("acquireTime") or ""))

    async def _take(self, held: Held | None) -> None:
        since = timestamp(wall())
        changes = int((held.spec.get("leaseTransitions") or 0) if held else -1) + 1
        self._attempted = (self.identity, since)
        await self._write({"acquireTime": since, "leaseTransitions": changes}, held)

    async def _write(self, spec: Spec, held: Held | None) -> None:
        sent = self._clock()  # before: an answer that took long must not make the lease longer
        full = dict(spec) | {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": round(self._times.lease),
            "renewTime": timestamp(wall()),
        }
        async with asyncio.timeout(self._times.request):
            written = await (self._store.replace(full, held.version) if held else self._store.create(full))
        self._took(written, sent)

    def _took(self, written: Held, sent: float) -> None:
        self._mine, self._confirmed, self._complaint = written, sent, ""
        if self._fence:
            self._fence.cancel()
        # A timer of its own: a request that cannot even be cancelled must not keep us leading.
        left = max(0.0, sent + self._times.deadline - self._clock())
        self._fence = asyncio.get_running_loop().call_later(left, self._check)

    def _check(self) -> None:
        if not self.holds():
            self._lose("no renewal was confirmed in time")
        elif self._fence:  # the loop's clock is ahead of ours
            self._fence = asyncio.get_running_loop().call_later(0.1, self._check)

    def _lose(self, why: str) -> None:
        if not self.lost.is_set():
            log.error("the lease is lost: %s", why)
            self._mine = None
            self.lost.set()

    async def _keep(self) -> None:
        while not self.lost.is_set():
            await asyncio.sleep(self._times.renew)
            if not self.holds():
                return self._lose("no renewal was confirmed in time")
            await self._renew()
        return None

    async def _renew(self) -> None:
        assert self._mine
        try:
            await self._write(self._mine.spec, self._mine)
        except (Conflict, NotFound, AlreadyExists):
            await self._look()
        except (ClusterError, TimeoutError) as error:
            self._complain(f"the lease was not renewed: {told(error)}")

    async def _look(self) -> None:
        """Somebody wrote or deleted it: a stranger, or a renewal of ours whose answer never came."""
        try:
            async with asyncio.timeout(self._times.request):
                held = await self._store.read()
            if held is None:
                assert self._mine
                await self._write(self._mine.spec, None)
            elif self._is_ours(held):
                await self._write(held.spec, held)
            else:
                self._lose(f"{held.holder or 'nobody'} has it now")
        except (ClusterError, TimeoutError) as error:
            self._complain(f"the lease was not renewed: {told(error)}")

    async def _hand_over(self, held: Held | None) -> None:
        """An empty holder and a second of claim: the next one to look takes it."""
        gone = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": timestamp(wall())}
        try:
            async with asyncio.timeout(self._times.release):
                held = held or await self._store.read()
                while held and self._is_ours(held):
                    try:
                        await self._store.replace(dict(held.spec) | gone, held.version)
                        return log.info("the lease is handed over")
                    except Conflict:  # our last renewal took effect unheard
                        held = await self._store.read()
        except (ClusterError, TimeoutError) as error:
            log.warning("the lease runs out by itself: it could not be handed over: %s", told(error))
        return None


def told(error: BaseException) -> str:
    return str(error) or "no answer in time"


def timestamp(at: datetime) -> str:
    """As the API writes a MicroTime."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
