"""A collector of OpenTelemetry's as servers see it: OTLP over HTTP, read with the protocol's public messages."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from tests.waiting import wait_until


@dataclass(frozen=True)
class Seen:
    """One span as it arrived; times are Unix nanoseconds, ids lower-case hex."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    state: str
    begun: int
    ended: int
    attributes: dict[str, Any]
    failed: bool
    resource: dict[str, Any]


@dataclass
class Collector:
    """What has arrived at `port`; `status` is what the next messages are answered with."""

    port: int = 0
    status: int = 200
    spans: list[Seen] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        assert (path, headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
        self.headers.append(headers)
        if self.status == 200:
            content = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
            self.spans += read(ExportTraceServiceRequest.FromString(content))
        return self.status

    def named(self, name: str, count: int = 1) -> list[Seen]:
        """The spans of a name, when there are so many."""

        def found() -> list[Seen]:
            seen = [span for span in self.spans if span.name == name]
            return seen if len(seen) >= count else []

        return wait_until(found, lambda: f"{count} spans {name!r} among {[span.name for span in self.spans]}")

    def below(self, parent: Seen) -> list[Seen]:
        """The spans within another one, in the order of time."""
        return sorted((span for span in self.spans if span.parent == parent.id), key=lambda span: span.begun)


def read(message: Any) -> Iterator[Seen]:
    for group in message.resource_spans:
        resource = plain(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield Seen(
                    span.name,
                    span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.trace_state,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    plain(span.attributes),
                    span.status.code == span.status.STATUS_CODE_ERROR,
                    resource,
                )


def plain(attributes: Any) -> dict[str, Any]:
    def value(attribute: KeyValue) -> Any:
        return getattr(attribute.value, attribute.value.WhichOneof("value") or "string_value")

    return {attribute.key: value(attribute) for attribute in attributes}


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens on a free port."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = found.take(self.path, {name.lower(): text for name, text in self.headers.items()}, body)
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
