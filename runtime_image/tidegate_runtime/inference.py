"""The way every protocol takes through the engine: a call is made, run or refused, answered, counted once, shown.

A protocol decodes a request into feeds, gives them to `Inferring.start` with a `Reply` that knows how to write an
answer in its own form, and says `left` when the client goes away.  What is wrong with a request before it becomes a
call is counted by `refused`, so that every request ends in exactly one count.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from tidegate_runtime.batcher import Call
from tidegate_runtime.engine import Engine
from tidegate_runtime.errors import RequestError, RunFailed, TooSlow
from tidegate_runtime.interfaces import Array, Body, LoadedModel, Recorder, Shadow, Source
from tidegate_runtime.settings import Settings
from tidegate_runtime.signature import Signature

if TYPE_CHECKING:
    from tidegate_runtime.tracing import Tracer

LOG = logging.getLogger(__name__)
LONG_TEXTS: Final = 16384  # bytes of a request with texts above which its run is not made on the loop
OK: Final = 200


class Reply(Protocol):
    """How one request is answered. Everything is called on the loop."""

    def answer(self, call: Call) -> None:
        """Encode `call.outputs` and send them; raises before anything is sent, or not at all."""

    def refuse(self, error: RequestError) -> None:
        """Send the protocol's form of `error`."""

    def as_it_came(self) -> tuple[Body, int | None] | None:
        """What `Shadow.offer` takes: the body and the length of its JSON part; None when it cannot be asked again."""


class Inferring:
    """Inference for one model, for all protocols; statuses are those of HTTP."""

    __slots__ = ("_engine", "_has_texts", "_longest", "_names", "_recorder", "_shadow", "model", "signature",
                 "statistics", "tracer")  # fmt: skip

    def __init__(
        self, model: LoadedModel, engine: Engine, settings: Settings, recorder: Recorder, shadow: Shadow
    ) -> None:
        self.model = model
        self.signature = Signature(model, settings.most_rows)
        self.statistics = engine.statistics
        self.tracer: Tracer | None = None  # None: nobody traces
        self._engine, self._recorder, self._shadow = engine, recorder, shadow
        self._longest = settings.request_timeout
        self._has_texts = any(spec.element_type == "BYTES" for spec in model.inputs)
        self._names = [spec.name for spec in model.outputs]

    def refusal(self, source: Source) -> RequestError | None:
        """Asked before anything is spent on a request: why it is refused, already counted; None while there is room."""
        if not self._engine.admission.full:
            return None
        error = self._engine.refuse()
        self.refused(error, arrived=time.monotonic(), source=source)
        return error

    def is_short(self, size: int) -> bool:
        """Whether a request of `size` bytes may be run on the loop: long texts cost more than their shape says."""
        return not (self._has_texts and size > LONG_TEXTS)

    def start(
        self, feeds: dict[str, Array], reply: Reply, *, arrived: float, seconds: float, short: bool, source: Source
    ) -> Call:
        """Send checked feeds on their way; `reply` gets the end of it, later, unless the client has `left`.

        `arrived` is time.monotonic; `seconds` the client's own limit, counted from then, 0.0 when it has none.
        Raises RequestError, not yet counted, when the engine does not take the call on.
        """
        signature, submitted = self.signature, time.monotonic()
        own = 0.0 < seconds < self._longest
        deadline = arrived + (seconds if own else self._longest)
        done = partial(self._finish, reply, source, own, submitted)
        if signature.uniform:
            call = Call(feeds, signature.rows(feeds), None, done, arrived, deadline)
            call.apart = not short
        else:
            call = Call(feeds, signature.rows(feeds), signature.key(feeds), done, arrived, deadline)
            call.apart = not short or signature.is_apart(feeds)
        self._engine.submit(call)
        return call

    def left(self, call: Call) -> None:
        """The client went away before its answer: what waits is dropped, what runs is thrown away."""
        self._engine.cancel(call)
        self._recorder.left()

    def refused(self, error: RequestError, *, arrived: float, source: Source) -> None:
        """Count a request that was answered with `error` without becoming a call."""
        now = time.monotonic()
        self._recorder.answered(source.kind, error.status, 0.0, 0.0, now - arrived)
        self.statistics.failed(arrived, now)
        if self.tracer is not None:
            self.tracer.refused(source, arrived, now, error)

    def _finish(self, reply: Reply, source: Source, own: bool, submitted: float, call: Call) -> None:
        """Answer a call that was run, or that failed; then count and show it."""
        answering = time.monotonic()
        error = self._answer(reply, own, call)
        status = OK if error is None else error.status
        now = time.monotonic()
        queue, compute = max(0.0, call.started - call.arrived), call.ended - call.started
        self._recorder.answered(source.kind, status, queue, compute, now - call.arrived)
        trace = None if self.tracer is None else self.tracer.answered(source, call, submitted, now, error)
        if error is not None:
            self.statistics.failed(call.arrived, now)
            return
        self.statistics.served(call, submitted, answering, now)
        if self._shadow.wants and (asked := reply.as_it_came()) is not None:
            body, json_length = asked
            self._shadow.offer(body, json_length, dict(zip(self._names, call.outputs, strict=True)), trace)

    def _answer(self, reply: Reply, own: bool, call: Call) -> RequestError | None:
        """Answer it; the error, where it is one."""
        try:
            if call.error is not None:
                raise _fair(call.error, own)
            reply.answer(call)
        except RequestError as error:
            reply.refuse(error)
            return error
        except Exception:  # what the model gave is not what its interface says
            LOG.exception("the answer cannot be written")
            failed = RunFailed("the model's outputs cannot be written as an answer")
            reply.refuse(failed)
            return failed
        return None


def _fair(error: Exception, own: bool) -> Exception:
    """A client that gave its request too little time is told so, and it is no evidence against the model."""
    if own and isinstance(error, TooSlow):
        return RequestError("the request's own timeout ran out", 408)
    return error
