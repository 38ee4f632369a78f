"""From a decoded request to its tensors: admission, batching, a run on the loop or on a worker's thread.

All of it happens on the loop's thread, except the runs of the workers.  Requests that arrive in one pass of the loop
and are short are run together at its end: 13 µs instead of 19 µs each for a tiny model (docs/performance.md).
"""

from __future__ import annotations

import time
from asyncio import AbstractEventLoop
from collections import deque
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Final

from tidegate_runtime.admission import Admission
from tidegate_runtime.batcher import Batch, Call, Waiting
from tidegate_runtime.batching import decide
from tidegate_runtime.busy_poll import BusyPoll
from tidegate_runtime.costs import INLINE_ON_ONE_CORE, INLINE_SECONDS, Costs
from tidegate_runtime.errors import NO_TIME_LEFT, Throttled, TooSlow, Unavailable
from tidegate_runtime.interfaces import LoadedModel, Recorder, Watchdog
from tidegate_runtime.settings import Settings
from tidegate_runtime.statistics import Statistics
from tidegate_runtime.worker import Run, Worker, run_batch

TURN_SECONDS: Final = 0.002  # short runs in a row before the loop looks at its sockets again
LONGEST_TURN: Final = 0.008  # of them on one core, where many wait: what else is asked waits for its end
TURN_SHARE: Final = 1 / 8  # of what waits is one turn: an answer waits at most so much longer than it does anyway


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an engine works with."""

    loop: AbstractEventLoop
    settings: Settings
    watchdog: Watchdog
    recorder: Recorder
    admission: Admission


class Engine:
    """Runs calls; `submit` never blocks."""

    def __init__(self, model: LoadedModel, key: object, around: Surroundings) -> None:
        settings = around.settings
        self._model = model
        self._loop, self._watchdog, self._recorder = around.loop, around.watchdog, around.recorder
        self.admission = around.admission
        self.statistics = Statistics(model.batchable)
        self.batching = decide(model, settings.max_batch_size)
        self._most_rows = self.batching.rows
        self._waiting = Waiting()
        self._delay = settings.max_batch_delay
        self._queue_timeout = settings.queue_timeout
        self._lane = around.watchdog.lane()
        self._most_workers = settings.threads
        inline = INLINE_ON_ONE_CORE if self._most_workers == 1 else INLINE_SECONDS
        self._costs = Costs(model.costs, key, inline)
        self._workers: list[Worker] = []
        self._free = 0  # workers
        self._batches: SimpleQueue[Batch | None] = SimpleQueue()  # what the next free worker takes
        self._ahead: deque[Batch] = deque()  # the last of those: given while none was free
        self._given: set[Batch] = set()  # to workers, and not back yet
        self._scheduled = False
        self._busy_poll = BusyPoll(around.loop)

    def submit(self, call: Call) -> None:
        """Take `call` on; raises Throttled when too many wait and Unavailable when a run is stuck."""
        if self.admission.full:
            raise self.refuse()
        if self._watchdog.stuck:
            raise Unavailable("a run of the model does not end: this server will be restarted")
        if self._watchdog.lost:
            raise Unavailable("the GPU is lost: this server will be restarted")
        if not self.admission.in_flight:
            self._busy_poll.asked()
        self.admission.queued += 1
        self.admission.in_flight += 1
        self._waiting.add(call)
        self._schedule()

    def refuse(self) -> Throttled:
        return self.admission.refuse(self._costs.predict(None, 1) or 0.0)

    def cancel(self, call: Call) -> None:
        """The client is gone: what waits is dropped, what runs is thrown away."""
        if not call.wanted:
            return
        call.cancelled = True
        self.admission.in_flight -= 1
        if not call.taken:
            self.admission.queued -= 1
            if not any(call in batch.calls for batch in self._ahead):
                self._waiting.remove(call)

    def sweep(self, now: float) -> None:
        """Answer what waited or ran too long; called by the server a few times a second."""
        self._expire(now)
        for batch in self._given:
            for call in batch.calls:
                if now > call.deadline and call.wanted:
                    self._fail(call, TooSlow("the run took longer than the request may"))

    def stop(self) -> None:
        """End the threads after what they do now; they are daemons, so a run that never ends holds nobody up."""
        for _ in self._workers:
            self._batches.put(None)

    def _expire(self, now: float) -> None:
        ahead = (call for batch in self._ahead for call in batch.calls if call.wanted)
        overdue = [call for call in ahead if call.is_overdue(now, self._queue_timeout)]
        for call in (*overdue, *self._waiting.expired(now, self._queue_timeout)):
            self.admission.queued -= 1
            late = now > call.deadline
            self._fail(call, TooSlow(NO_TIME_LEFT) if late else _waited(self._queue_timeout))

    def _fail(self, call: Call, error: Throttled | TooSlow) -> None:
        call.error = error
        self._answer(call)

    def _answer(self, call: Call) -> None:
        self.admission.in_flight -= 1
        call.answered = True
        call.done(call)

    def _dispatch(self) -> None:
        """Start what can be started: longer runs on free workers, then short ones here and now."""
        self._scheduled = False
        now, turn = time.monotonic(), self._turn()
        short: list[Batch] = []
        try:
            self._start_what_can_be(now, turn, short)
        finally:  # whatever happened to others, as where no thread can be started: these are out of the queue
            self._run_here(short, now, now + turn)

    def _turn(self) -> float:
        """Seconds of short runs in a row; on several cores workers wait for the loop, so that it comes back soon."""
        if self._most_workers > 1 or not self._waiting:
            return TURN_SECONDS
        oldest = self._waiting.oldest()
        waiting = len(self._waiting) * (self._costs.predict(oldest.key, oldest.rows) or 0.0)
        return max(TURN_SECONDS, min(LONGEST_TURN, TURN_SHARE * waiting))

    def _start_what_can_be(self, now: float, turn: float, short: list[Batch]) -> None:
        """Give workers what is theirs; `short` gets what is to be run here, of `turn` seconds by what is known."""
        planned = 0.0
        while self._waiting and planned < turn:
            oldest = self._waiting.oldest()
            if oldest.deadline < now:  # nobody waits for its answer any more
                self._expire(now)
                continue
            here = not oldest.apart and self._costs.is_short(oldest.key, oldest.rows)
            none_free = not self._free and len(self._workers) >= self._most_workers
            if not here and none_free and not self._may_be_ahead(oldest):
                return  # whichever worker gets free dispatches again
            if self._may_wait(oldest):
                return
            if not here:
                self._hand_over(self._waiting.take(self._most_rows))
                continue
            batch = self._waiting.take(self._costs.short_rows(oldest.key, self._most_rows))
            self._out_of_the_queue(batch)
            short.append(batch)
            planned += self._costs.predict(batch.key, batch.rows) or 0.0
        if self._waiting:
            self._schedule()

    def _run_here(self, short: list[Batch], now: float, stop_at: float) -> None:
        """Run them one after the other until `stop_at`, then answer; what is left goes back to the front of the queue.

        So does what nobody waits for any more when its turn comes, with all behind it.

        A run throws all else out of the processor's caches: what is done before the first and after the last of several
        is fetched only once (R 0.865 -> 0.885 for 110 KB by answering after the last).
        """
        ran: list[tuple[Batch, list[Run]]] = []
        for batch in short:
            if now > min(stop_at, batch.deadline):
                break
            ran.append((batch, run_batch(self._model, self._lane, batch)))
            now = time.monotonic()
        for batch in reversed(short[len(ran) :]):
            self._back_into_the_queue(batch)
        for batch, runs in ran:
            self._finish(batch, runs)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._dispatch)

    def _may_wait(self, oldest: Call) -> bool:
        """With `maxDelay`, more rows are waited for until the oldest call has waited that long."""
        if not self._delay or oldest.apart:
            return False
        left = oldest.arrived + self._delay - time.monotonic()
        if left <= 0 or self._waiting.rows() >= self._most_rows:
            return False
        self._loop.call_later(left, self._dispatch)
        return True

    def _may_be_ahead(self, oldest: Call) -> bool:
        """Whether a batch may be put behind those that run, so that no worker waits for this loop between two.

        Only what would not grow until a worker is free.  It still counts as queued, with all that this means.
        """
        alone = self._most_rows == 1 or oldest.apart
        full = oldest.key is None and len(self._waiting) >= self._most_rows  # all are of one shape, of a row or more
        return (alone or full) and len(self._ahead) < self._most_workers

    def _hand_over(self, batch: Batch) -> None:
        if not self._free and len(self._workers) >= self._most_workers:
            self._ahead.append(batch)
        else:
            self._out_of_the_queue(batch)
            if self._free:
                self._free -= 1
            else:
                self._workers.append(Worker(self._model, self._watchdog.lane(), self._batches, self._from_thread))
        self._given.add(batch)
        self._batches.put(batch)

    def _out_of_the_queue(self, batch: Batch) -> None:
        """Its run begins; a call that nobody wants any more was counted when that was seen."""
        for call in batch.calls:
            call.taken = True
            if call.wanted:
                self.admission.queued -= 1

    def _back_into_the_queue(self, batch: Batch) -> None:
        """It was to be run here, and those before it took too long."""
        for call in batch.calls:
            call.taken = False
        self.admission.queued += len(batch.calls)
        self._waiting.put_back(batch)
        self._schedule()

    def _from_thread(self, batch: Batch, runs: list[Run]) -> None:
        self._loop.call_soon_threadsafe(partial(self._back, batch, runs))

    def _back(self, batch: Batch, runs: list[Run]) -> None:
        """A worker has done `batch` and goes on with the next that was put ahead, if one was."""
        self._given.discard(batch)
        if self._ahead:
            self._out_of_the_queue(self._ahead.popleft())
        else:
            self._free += 1
        if self._waiting:
            self._dispatch()
        self._finish(batch, runs)

    def _finish(self, batch: Batch, runs: list[Run]) -> None:
        for run in runs:
            self._count(run)
        for call in batch.calls:
            if call.wanted:
                self._answer(call)
        if not self.admission.in_flight:
            self._busy_poll.answered()

    def _count(self, run: Run) -> None:
        ran = run.batch
        self._recorder.ran(ran.rows, len(ran.calls))
        if run.error is None:
            self.statistics.ran(ran.rows, run.seconds)
            if not ran.calls[0].apart:
                self._costs.ran(ran.key, ran.rows, run.seconds)


def _waited(seconds: float) -> Throttled:
    return Throttled(f"waited longer than {seconds:g} s for a free worker")
