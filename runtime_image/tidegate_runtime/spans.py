"""Spans as OpenTelemetry makes and sends them: OTLP over HTTP, as protobuf.

Importing this costs 0.13 s and 18 MB: it is only imported where spans are sent.  The address comes from tracing.py;
headers, certificates, compression and timeout are those of OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_…), and
OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say more about who serves.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from tidegate_runtime import __version__
from tidegate_runtime.trace_context import TraceContext
from tidegate_runtime.tracing import Span

KINDS: Final = {"server": SpanKind.SERVER, "consumer": SpanKind.CONSUMER}
NANOSECONDS: Final = 1_000_000_000


class OtlpExporter:
    """See `tracing.Exporter`. `about` says who serves, in the names of OpenTelemetry's conventions."""

    def __init__(self, endpoint: str, about: Mapping[str, str]) -> None:
        self._complaints = _Complaints()
        log = logging.getLogger("opentelemetry")
        log.propagate = False
        log.addHandler(self._complaints)
        self._ids, self._ended = _Ids(), _Ended()
        resource = Resource.create(about).merge(OTELResourceDetector().detect())  # what the user says goes before
        provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, id_generator=self._ids, shutdown_on_exit=False
        )  # those that come here were sampled
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("tidegate_runtime", __version__)
        self._exporter = OTLPSpanExporter(endpoint)

    def send(self, spans: Sequence[Span]) -> str:
        # By the clock on the wall as it is now: what it was set to since then would tear a trace apart.
        offset = time.time() - time.monotonic()
        for span in spans:
            self._make(span, offset)
        made, self._ended.spans = self._ended.spans, []
        if self._exporter.export(made) is SpanExportResult.SUCCESS:
            return ""
        return self._complaints.last or "the collector does not take them"

    def _make(self, span: Span, offset: float) -> None:
        self._ids.trace, self._ids.span = span.context.trace, span.context.span
        parent = None if span.parent is None else set_span_in_context(NonRecordingSpan(_remote(span.parent)))
        made = self._tracer.start_span(
            span.name, parent, KINDS[span.kind], span.attributes, start_time=_nanoseconds(span.begun + offset)
        )
        if "error.type" in span.attributes:
            made.set_status(Status(StatusCode.ERROR))
        within = set_span_in_context(made)
        for part in span.parts:
            begun, ended = _nanoseconds(part.begun + offset), _nanoseconds(part.ended + offset)
            self._tracer.start_span(part.name, within, attributes=part.attributes, start_time=begun).end(ended)
        made.end(_nanoseconds(span.ended + offset))


class _Ids(RandomIdGenerator):
    """A request's span has the ids it was given when it was answered, for others refer to it; its parts have any."""

    trace = span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        given, self.span = self.span, 0
        return given or super().generate_span_id()


class _Ended(SpanProcessor):
    """Collects what has ended."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class _Complaints(logging.Handler):
    """Keeps the last thing that OpenTelemetry complains of: `tracing.py` says it in the server's own log, once."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


def _remote(context: TraceContext) -> SpanContext:
    state = TraceState.from_header([context.state]) if context.state else None
    return SpanContext(context.trace, context.span, True, TraceFlags(context.flags), state)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * NANOSECONDS)
