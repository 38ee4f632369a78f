"""Explanations of this model's answers, beside inference and never in its way.

Each is made on a thread of its own, which the system runs after the others and which starts no run of the model while
an inference request waits for one.  So many are made at a time in all processes of the server together; whoever asks
for one more is told to come again.  None is counted as an inference, shadowed, or evidence of a rollout.
"""

from __future__ import annotations

import logging
import threading
import time
from asyncio import TimerHandle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from tidegate.attribution.explaining import Limits, Material, Wish, explain_rows
from tidegate.attribution.game import row_of
from tidegate.attribution.methods import SHAPLEY, WAYS
from tidegate.bundle.manifest import Interface, TensorSpec
from tidegate.errors import Invalid
from tidegate_runtime.admission import LONGEST_RETRY
from tidegate_runtime.batching import Batching
from tidegate_runtime.engine import Surroundings
from tidegate_runtime.errors import BadRequest, RequestError, RunFailed, Throttled, TooSlow, Unavailable
from tidegate_runtime.explain_counts import OK, ExplainCounts
from tidegate_runtime.health import Health, Phase
from tidegate_runtime.http import Connection
from tidegate_runtime.interfaces import Array, Lane, LoadedModel, Source
from tidegate_runtime.low_priority import be_nice
from tidegate_runtime.request import Request
from tidegate_runtime.request_log import LEFT
from tidegate_runtime.slots import Slots
from tidegate_runtime.worker import failed_run

LOG = logging.getLogger(__name__)
HELD: Final = 8 << 20  # bytes of an answer's shares: as JSON they hold the interpreter up for some 50 ms
RUN_BYTES: Final = 4 << 20  # of the inputs of one run
GIVE_WAY: Final = 0.001  # seconds between two looks at the queue of inference
Encoded = tuple[bytes, int | None]  # a body, and how long its JSON part is when tensors follow it
Send = Callable[[Connection, bytes, int | None], None]


@dataclass(slots=True, eq=False)
class Question:
    """One request on its way. `encode` makes the answer's body, on the thread of the explanation."""

    feeds: dict[str, Array]
    wish: Wish
    outputs: tuple[TensorSpec, ...]
    seconds: float  # the client's own limit; 0.0: it has none
    encode: Callable[[Mapping[str, Array]], Encoded]
    send: Send
    connection: Connection
    request: Request
    deadline: float = 0.0  # time.monotonic
    own: bool = False  # whether that is the client's own limit, not the server's
    slot: int = 0
    over: bool = False  # answered, or nobody waits any more
    late: TimerHandle | None = None


class _Over(Exception):
    """Nobody waits for it any more."""


class Explaining:
    """Everything but the work of the threads happens on the loop."""

    def __init__(
        self,
        model: LoadedModel,
        batching: Batching,
        around: Surroundings,
        health: Health,
        counts: ExplainCounts,
        slots: Slots,
    ) -> None:
        settings = around.settings
        self._model = model
        self._loop, self._watchdog, self._admission = around.loop, around.watchdog, around.admission
        self._health = health
        self._counts, self._slots = counts, slots
        self._longest = settings.request_timeout
        self._interface = Interface(model.inputs, model.outputs)
        self._limits = Limits(HELD, settings.explain_rows, batching.rows if self._interface.batched else 1, RUN_BYTES)
        self._lanes: list[Lane] = []  # that are free; each belongs to one thread at a time
        self._took = 1.0  # seconds, of the latest

    def refusal(self, source: Source) -> RequestError | None:  # noqa: ARG002 - see Route.refusal
        """Asked before anything is spent on a request: why it is refused, already counted; None while there is room."""
        error = self._objection() or (None if self._slots.free else self._busy())
        if error is not None:
            self.refused(error)
        return error

    def start(self, question: Question) -> None:
        """Begin to explain; raises RequestError, not yet counted."""
        if (objection := self._objection()) is not None:
            raise objection
        if not self._interface.batched and question.wish.baseline == "mean":
            raise BadRequest(
                "this model takes one request at a time and not rows, so that there is no mean of them: "
                "set parameters.baseline to zero"
            )
        slot = self._slots.take()
        if slot is None:
            raise self._busy()
        try:
            self._begin(question, slot)
        except (RuntimeError, MemoryError):
            self._end(question)
            self._slots.give_back(slot)
            raise Unavailable("no thread can be started for it now") from None

    def _begin(self, question: Question, slot: int) -> None:
        """Raises RuntimeError or MemoryError where there is no room for one more thread."""
        if not self._lanes:
            self._lanes.append(self._watchdog.lane())
        question.slot, question.own = slot, 0.0 < question.seconds < self._longest
        question.deadline = question.request.arrived + (question.seconds if question.own else self._longest)
        left = max(0.0, question.deadline - time.monotonic())
        question.late = self._loop.call_later(left, self._late, question)
        threading.Thread(target=self._work, args=(question, self._lanes[-1]), name="explain", daemon=True).start()
        self._lanes.pop()  # now that it belongs to a thread

    def left(self, question: Question) -> None:
        """The client went away before its answer: no further run is made."""
        self._end(question)
        self._count(question, LEFT)

    def refused(self, error: RequestError) -> None:
        """Count a request that was answered with `error` without being begun."""
        self._counts.answered(error.status, 0.0)

    def _objection(self) -> RequestError | None:
        if self._health.reason:
            return Unavailable("this server will be restarted")
        if self._health.phase is Phase.DRAINING:
            return Unavailable("this server is ending, and begins no more explanations")
        return self._admission.refuse(0.0) if self._admission.full else None

    def _busy(self) -> Throttled:
        wait = min(LONGEST_RETRY, max(1, round(self._took)))
        return Throttled(f"there is no room for one more explanation ({self._slots.count} at a time)", retry_after=wait)

    def _too_slow(self, question: Question) -> RequestError:
        do = "ask for fewer rows or rounds, or for the method occlusion"
        if question.own:
            return RequestError(f"the request's own timeout ran out: {do}", 408)
        return TooSlow(f"the explanation took longer than {self._longest:g} s: {do}")

    # -- on the explanation's thread

    def _work(self, question: Question, lane: Lane) -> None:
        be_nice()
        question.request.started = time.monotonic()
        outcome = self._outcome(question, lane)
        question.request.ended = time.monotonic()
        self._loop.call_soon_threadsafe(self._finish, question, lane, outcome)

    def _outcome(self, question: Question, lane: Lane) -> Encoded | RequestError | None:
        """The answer, or why there is none; None: nobody waits any more."""
        try:
            return self._explained(question, lane)
        except _Over:
            return None
        except RequestError as error:
            return error
        except Invalid as error:
            return BadRequest(str(error))
        except Exception:  # a fault of ours, or no memory
            LOG.exception("an explanation failed")
            return RunFailed("the explanation failed: the server's log says why")

    def _explained(self, question: Question, lane: Lane) -> Encoded:
        wish, feeds = question.wish, question.feeds
        rows = feeds if self._interface.batched else {name: array[None] for name, array in feeds.items()}
        material = Material(self._interface, rows, question.outputs)
        ask = partial(self._ask, question, lane)
        with np.errstate(all="ignore"):  # what is not finite shows in the answer
            found = explain_rows(ask, WAYS[wish.method], material, wish, self._limits)
            return question.encode(found.arrays(errors=wish.method == SHAPLEY))

    def _ask(self, question: Question, lane: Lane, pool: dict[str, Array]) -> dict[str, Array]:
        """Answers to a pool; where rows cannot be run together, it is a pool of one."""
        if self._interface.batched:
            return self._run(question, lane, pool)
        return {name: array[None] for name, array in self._run(question, lane, row_of(pool, 0)).items()}

    def _run(self, question: Question, lane: Lane, feeds: dict[str, Array]) -> dict[str, Array]:
        while self._admission.queued and not question.over:
            time.sleep(GIVE_WAY)
        if question.over:
            raise _Over
        failure: Exception | None = None
        lane.begin(question.deadline)
        try:
            outputs = self._model.run(feeds, lane)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime has a dozen of its own, all from C++
            failure = error
        terminated = lane.end()
        if failure is not None:
            raise failed_run(failure, terminated)
        return {spec.name: array for spec, array in zip(self._model.outputs, outputs, strict=True)}

    # -- on the loop again

    def _finish(self, question: Question, lane: Lane, outcome: Encoded | RequestError | None) -> None:
        self._free(question.slot, lane)
        if question.over or outcome is None:
            return
        if isinstance(outcome, TooSlow):  # the watchdog was sooner than `late`
            self._late(question)
            return
        if isinstance(outcome, RequestError):
            self._refuse(question, outcome)
            return
        self._end(question)
        question.send(question.connection, *outcome)
        self._count(question, OK)

    def _late(self, question: Question) -> None:
        self._refuse(question, self._too_slow(question))

    def _refuse(self, question: Question, error: RequestError) -> None:
        self._end(question)
        question.connection.refuse(error)
        self._count(question, error.status)

    def _end(self, question: Question) -> None:
        question.over = True
        if question.late is not None:
            question.late.cancel()

    def _count(self, question: Question, status: int) -> None:
        seconds = time.monotonic() - question.request.arrived
        if status == OK:
            self._took = seconds
        self._counts.answered(status, seconds)

    def _free(self, slot: int, lane: Lane) -> None:
        self._lanes.append(lane)
        self._slots.give_back(slot)
