"""Spans of requests, for whoever follows one through several services; off unless somebody says where to send them.

The loop decides whether a request is traced and, after its answer, leaves what is known of it in a queue of bounded
length.  A thread of its own makes spans of that and sends them (spans.py, the only module that imports OpenTelemetry).
What does not fit or cannot be sent is dropped and counted: tracing never slows an answer down.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final, Literal, Protocol
from urllib.parse import urlsplit

from tidegate_runtime import trace_context
from tidegate_runtime.batcher import Call
from tidegate_runtime.compare import Found
from tidegate_runtime.errors import RequestError
from tidegate_runtime.interfaces import LoadedModel, Source
from tidegate_runtime.logs import log
from tidegate_runtime.trace_context import TraceContext

PLACES: Final = 4096  # of spans that wait; a kilobyte each
MOST_SENT: Final = 512  # in one message
PAUSE_SECONDS: Final = 1.0  # how long the first one waits for others
LAST_SECONDS: Final = 1.0  # for what is left when the server ends
MOST_SHOWN: Final = 500  # characters of why they cannot be sent
PATH: Final = "/v1/traces"
BASE, WHOLE = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")  # the first that is set counts
SPOKEN: Final = "http/protobuf"
Attributes = Mapping[str, str | int | bool]


@dataclass(frozen=True, slots=True)
class Part:
    """A span within another one; times are time.monotonic."""

    name: str
    begun: float
    ended: float
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Span:
    """What is told of one request; times are time.monotonic, and `error` is among its attributes when it failed."""

    name: str
    kind: Literal["server", "consumer"]
    context: TraceContext
    parent: TraceContext | None  # None: the trace begins here
    begun: float
    ended: float
    attributes: Attributes
    parts: tuple[Part, ...] = ()


class Exporter(Protocol):
    """Who sends spans; called on the tracer's thread."""

    def send(self, spans: Sequence[Span]) -> str:
        """Send them; why they are lost, or nothing."""


class Tracer:
    """`answered` is called on the loop, `compared` on the thread that compares; neither blocks."""

    def __init__(self, model: LoadedModel, share: float, exporter: Exporter, *, tls: bool = False) -> None:
        self.sent = 0  # spans of requests and comparisons, without their parts
        self.dropped = 0
        self._share = share  # of the requests that come without a decision, 0..1
        self._exporter = exporter
        self._tls = tls
        self._who = {"tidegate.model": model.name, "tidegate.revision": model.revision}
        self._queue: SimpleQueue[Span | None] = SimpleQueue()
        self._many = threading.Event()
        self._failing = self._over = False
        self._thread = threading.Thread(target=self._send_all, name="traces", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send what waits, as far as that takes no longer than a second."""
        self._over = True
        self._queue.put(None)
        self._many.set()
        self._thread.join(timeout=LAST_SECONDS)

    def answered(
        self, source: Source, call: Call, submitted: float, ended: float, error: RequestError | None
    ) -> TraceContext | None:
        """A call ended, with `error` if it failed; the context of its request's span, or None when it is not traced."""
        more = {"tidegate.rows": call.rows}
        return self._request(source, (call.arrived, ended), error, more, partial(_parts, call, submitted))

    def refused(self, source: Source, begun: float, ended: float, error: RequestError) -> None:
        """A request was answered with `error` without becoming a call."""
        self._request(source, (begun, ended), error, {}, tuple)

    def _request(
        self, source: Source, times: tuple[float, float], error: RequestError | None, more: Attributes,
        parts: Callable[[], tuple[Part, ...]],
    ) -> TraceContext | None:  # fmt: skip
        header, state = source.trace_headers()
        parent = trace_context.read(header, state) if header else None
        context = self._context(parent)
        if context is not None:
            name, attributes = source.described(error, tls=self._tls)
            attributes = {**attributes, **self._who, "tidegate.traffic": source.kind, **more}
            self._put(Span(name, "server", context, parent, *times, attributes, parts()))
        return context

    def compared(self, parent: TraceContext | None, begun: float, ended: float, found: Found) -> None:
        """A shadowed request was run again here, and compared with the answer that its client got."""
        if parent is None or (context := self._context(parent)) is None:
            return
        diverged = found.top1 or any(beyond for beyond, _ in found.outputs.values())
        attributes = self._who | {"tidegate.diverged": diverged}
        self._put(Span("compare", "consumer", context, parent, begun, ended, attributes))

    def _context(self, parent: TraceContext | None) -> TraceContext | None:
        """The place of a new span below `parent`, whose decision counts; without one, chance decides."""
        if parent is not None:
            return TraceContext(parent.trace, _new(64), parent.flags, parent.state) if parent.sampled else None
        if random.random() >= self._share:  # noqa: S311 - a sample, not a secret
            return None
        return TraceContext(_new(128), _new(64), trace_context.KNOWN_FLAGS)

    def _put(self, span: Span) -> None:
        waiting = self._queue.qsize()
        if waiting >= PLACES:
            self.dropped += 1
            return
        self._queue.put(span)
        if waiting == MOST_SENT:
            self._many.set()

    def _send_all(self) -> None:
        going_on = True
        while going_on:
            first = self._queue.get()
            if first is None:
                return
            if not self._over:
                self._many.wait(PAUSE_SECONDS)
            self._many.clear()
            spans, going_on = self._gathered(first)
            self._send(spans)

    def _gathered(self, first: Span) -> tuple[list[Span], bool]:
        """What waits, as much as fits into one message, and whether there will be more."""
        spans = [first]
        while len(spans) < MOST_SENT:
            try:
                span = self._queue.get_nowait()
            except Empty:
                break
            if span is None:
                return spans, False
            spans.append(span)
        if self._queue.qsize() >= MOST_SENT:
            self._many.set()
        return spans, True

    def _send(self, spans: list[Span]) -> None:
        try:
            why = self._exporter.send(spans)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next ones may be sent
            why = f"{type(error).__name__}: {error}"
        if why:
            self.dropped += len(spans)
        else:
            self.sent += len(spans)
        if bool(why) != self._failing:  # once when it begins, once when it is over
            self._failing = bool(why)
            if why:
                log("warning", "traces cannot be sent", why=why[:MOST_SHOWN])
            else:
                log("info", "traces are sent again", dropped=self.dropped)


def _new(bits: int) -> int:
    return random.getrandbits(bits) or 1  # zero stands for none


def _parts(call: Call, submitted: float) -> tuple[Part, ...]:
    """How a call waited and ran; one that was given up while it ran has no end of its run yet."""
    if not call.ended:
        return () if call.taken else (Part("queue", submitted, time.monotonic(), {}),)
    run = {"tidegate.batch.requests": call.requests_together, "tidegate.batch.rows": call.rows_together}
    return Part("queue", submitted, call.started, {}), Part("run", call.started, call.ended, run)


def endpoint(given: str | None, environment: Mapping[str, str]) -> str | None:
    """The address that spans are sent to, if they are: below the flag's, or that of OpenTelemetry's own variables.

    Raises ValueError with a sentence.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if given:
        return _below("--otlp-endpoint", given)
    base, whole = environment.get(BASE), environment.get(WHOLE)
    protocol = next((name for name in PROTOCOLS if environment.get(name)), None)
    if (base or whole) and protocol is not None and environment[protocol] != SPOKEN:
        raise ValueError(f"{protocol}: only {SPOKEN} is spoken, on port 4318 of most collectors")
    if whole:
        return _checked(WHOLE, whole)
    return _below(BASE, base) if base else None


def _below(name: str, base: str) -> str:
    return _checked(name, base).rstrip("/").removesuffix(PATH) + PATH


def _checked(name: str, url: str) -> str:
    sentence = f"{name}: write http://HOST:4318 or https://HOST:4318; credentials go into OTEL_EXPORTER_OTLP_HEADERS"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:  # a port that is none, half an IPv6 address
        usable = False
    if not usable:
        raise ValueError(sentence)
    return url
