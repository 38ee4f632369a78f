"""Spans as OpenTelemetry makes and sends them: OTLP over HTTP, as protobuf.

Importing this takes time and memory: it is only imported where spans are sent.  Headers, certificates, compression and
timeout are those of OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_…), and OTEL_SERVICE_NAME and
OTEL_RESOURCE_ATTRIBUTES say more about who sends.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Sequence
from datetime import datetime

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from tidegate import __version__
from tidegate.cluster.tracing import Attributes
from tidegate.plan.spans import ROLLOUT, Span

PLACES, MOST_SENT = 2048, 512  # of spans that wait, and that go into one message
PAUSE_MILLISECONDS = 1000
LAST_SECONDS = 1.0  # for what is left when the operator ends
SAME_SECONDS = 600.0
RECONCILE = "reconcile"

log = logging.getLogger(__name__)


class OtlpExporter:
    """See `tracing.Exporter`."""

    def __init__(self, endpoint: str, identity: str) -> None:
        complain_once()
        about = {"service.name": "tidegate-operator", "service.version": __version__, "service.instance.id": identity}
        resource = Resource.create(about).merge(OTELResourceDetector().detect())  # what the user says goes before
        self._ids, self._sender = _Ids(), OTLPSpanExporter(endpoint)
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, id_generator=self._ids, shutdown_on_exit=False
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._sender,
                max_queue_size=PLACES,
                max_export_batch_size=MOST_SENT,
                schedule_delay_millis=PAUSE_MILLISECONDS,
            )
        )
        self._tracer = self._provider.get_tracer("tidegate.cluster", __version__)

    def rollout(self, trace: str, spans: Sequence[Span], about: Attributes) -> None:
        root = context_of(trace)
        for span in spans:
            if span.name == ROLLOUT:
                self._ids.given = root.trace_id, root.span_id
                self._make(span, about, None)
            else:
                self._make(span, about, set_span_in_context(NonRecordingSpan(root)))

    def _make(self, span: Span, about: Attributes, parent: Context | None) -> None:
        began, attributes = nanoseconds(span.began), {**about, **span.attributes}
        made = self._tracer.start_span(span.name, parent or Context(), attributes=attributes, start_time=began)
        if span.failed:
            made.set_status(Status(StatusCode.ERROR))
        for part in span.parts:
            self._make(part, about, set_span_in_context(made))
        made.end(nanoseconds(span.ended))

    def turn(self, began: int, ended: int, about: Attributes, trace: str, *, failed: bool) -> None:
        links = [Link(context_of(trace))] if trace else []
        made = self._tracer.start_span(RECONCILE, Context(), attributes=about, start_time=began, links=links)
        if failed:
            made.set_status(Status(StatusCode.ERROR))
        made.end(ended)

    def stop(self) -> None:
        """Send what waits, as far as that takes no longer than a second."""
        thread = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        thread.start()
        thread.join(LAST_SECONDS)
        if thread.is_alive():
            self._sender.shutdown()  # type: ignore[no-untyped-call]  # nothing is tried again


class _Ids(RandomIdGenerator):
    """A rollout's span has the ids that every operator gives it; others have any."""

    given: tuple[int, int] | None = None

    def generate_trace_id(self) -> int:
        return self.given[0] if self.given else super().generate_trace_id()

    def generate_span_id(self) -> int:
        given, self.given = self.given, None
        return given[1] if given else super().generate_span_id()


def context_of(trace: str) -> SpanContext:
    """The place of a rollout's whole span: it follows from what tells the rollout from all others."""
    digest = hashlib.sha256(trace.encode()).digest()
    sampled = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int.from_bytes(digest[:16]), int.from_bytes(digest[16:24]), True, sampled)


def nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000) * 1000


class _Complaints(logging.Handler):
    """Says what OpenTelemetry complains of, once in ten minutes: it complains of every message that it cannot send."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said_at = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now - self._said_at >= SAME_SECONDS:
            self._said_at = now
            log.warning("spans cannot be sent: %s", record.getMessage())


def complain_once() -> None:
    library = logging.getLogger("opentelemetry")
    library.propagate = False
    library.handlers = [_Complaints()]
