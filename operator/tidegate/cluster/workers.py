"""Workers take deployments from the queue, one turn each, and say when to look again."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta
from typing import Protocol

from tidegate.cluster import logs
from tidegate.cluster.api import Key
from tidegate.cluster.errors import ApiDown, ClusterError, NotLeader, Throttled
from tidegate.cluster.metrics import Metrics
from tidegate.cluster.queue import WorkQueue, jittered

log = logging.getLogger(__name__)


class Reconciles(Protocol):
    """What a worker does with a key."""

    async def reconcile(self, key: Key) -> timedelta | None: ...
    def knows(self, key: Key) -> bool: ...


class Workers:
    """A fixed number of them; `finish` lets those that are in a turn end it."""

    def __init__(self, queue: WorkQueue, reconciler: Reconciles, metrics: Metrics, count: int, resync: float) -> None:
        self._queue = queue
        self._reconciler = reconciler
        self._metrics = metrics
        self._count = count
        self._resync = resync
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None] | None] = set()
        self._ending = False

    def start(self) -> None:
        self._tasks = {asyncio.create_task(self._work(), name=f"worker {number}") for number in range(self._count)}

    async def finish(self, seconds: float) -> None:
        """No new turns; those under way have so long to come to their end."""
        self._ending = True
        for task in self._tasks - self._busy:
            task.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self) -> None:
        me = asyncio.current_task()
        while not self._ending:
            key = await self._queue.get()
            self._busy.add(me)
            try:
                with logs.about(namespace=key[0], name=key[1]):
                    await self._turn(key)
            finally:
                self._queue.done(key)
                self._busy.discard(me)

    async def _turn(self, key: Key) -> None:
        began, result = time.monotonic(), "error"
        try:
            again = await self._reconciler.reconcile(key)
            result = "ok"
            self._queue.forget(key)
            self._look_again(key, again)
        except NotLeader:
            result = "fenced"
        except (ApiDown, Throttled) as error:
            result = "unavailable"
            pause = self._queue.failed(key, getattr(error, "retry_after", 0.0))
            log.warning("the API server is in trouble, again in %.1f s: %s", pause, error)
        except ClusterError as error:
            pause = self._queue.failed(key)
            log.warning("%s: %s; again in %.1f s", error.reason, error, pause)
        except Exception:
            # A mistake of ours about one deployment must not stop the others.
            pause = self._queue.failed(key)
            log.exception("a bug: this deployment is looked at again in %.1f s", pause)
        finally:
            self._metrics.reconciled(result, time.monotonic() - began)

    def _look_again(self, key: Key, again: timedelta | None) -> None:
        if not self._reconciler.knows(key):
            self._queue.remove(key)
            return
        resync = jittered(self._resync)
        self._queue.add_after(key, resync if again is None else min(resync, again.total_seconds()))
