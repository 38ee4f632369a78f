"""What becomes of a request's trace: whose it is, whether it is told, and that telling costs the server nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtime.fake_model import FakeModel, rows
from tests.waiting import wait_until

from tidegate_runtime import tracing
from tidegate_runtime.batcher import Call
from tidegate_runtime.compare import Found
from tidegate_runtime.errors import DeviceFull, RequestError, Throttled, TooSlow
from tidegate_runtime.grpc_calls import NUMBERS, status_of
from tidegate_runtime.grpc_source import GrpcSource
from tidegate_runtime.request import Request
from tidegate_runtime.settings import parse
from tidegate_runtime.trace_context import TraceContext, read
from tidegate_runtime.tracing import Span, Tracer, endpoint

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = PARENT[:-2] + "00"
FULL = Throttled("the queue is full")


@dataclass
class Collector:
    """An exporter that remembers; `why` is what it refuses with; it waits while `open` is not set."""

    why: str = ""
    messages: list[list[Span]] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)

    def send(self, spans: Sequence[Span]) -> str:
        self.open.wait(20)
        self.messages.append(list(spans))
        return self.why

    @property
    def spans(self) -> list[Span]:
        return [span for message in self.messages for span in message]


@pytest.fixture
def collector() -> Collector:
    found = Collector()
    found.open.set()
    return found


def request(**headers: str) -> Request:
    found = Request()
    found.method, found.url = b"POST", b"/v2/models/fake/infer?x=1"
    found.headers = {name.encode(): value.encode() for name, value in headers.items()}
    return found


def call(**times: float) -> Call:
    """A call of two rows that came 3 s ago, began to run 2 s ago, and has run for a second together with others."""
    now = time.monotonic()
    made = Call(rows(2), 2, None, lambda _: None, now - 3, now + 3, started=now - 2, ended=now - 1, taken=True)
    made.rows_together, made.requests_together = 8, 4
    for name, value in times.items():
        setattr(made, name, value)
    return made


def told(tracer: Tracer, collector: Collector) -> list[Span]:
    """The spans that were sent when the tracer has ended."""
    tracer.start()
    tracer.stop()
    return collector.spans


# Trace context.


def test_a_parent_is_read_and_what_is_written_for_others_names_our_own_span() -> None:
    context = read(PARENT, "congo=t61rcWkgMzE")

    assert context == TraceContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, 1, "congo=t61rcWkgMzE")
    assert context.headers() == {"traceparent": PARENT, "tracestate": "congo=t61rcWkgMzE"}
    assert TraceContext(1, 2, 3).headers() == {"traceparent": f"00-{1:032x}-{2:016x}-03"}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        PARENT.upper(),
        PARENT + "-00",  # the first version ends here
        "ff" + PARENT[2:],
        PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        PARENT.replace("b7ad6b7169203331", "0" * 16),
        PARENT[:-1],
        PARENT + ", " + PARENT,  # the header came twice
        PARENT.replace("0", "٠"),
        "x" * 60_000,
    ],
)
def test_a_malformed_parent_is_ignored(header: str) -> None:
    assert read(header, "a=b") is None


@pytest.mark.parametrize("header", ["cc" + PARENT[2:], "cc" + PARENT[2:] + "-what-the-future-will-be-like"])
def test_a_later_version_is_read_as_far_as_it_is_known(header: str) -> None:
    context = read(header, "")

    assert context is not None
    assert context.headers() == {"traceparent": PARENT}


def test_flags_that_are_unknown_and_a_state_that_is_too_long_are_not_passed_on() -> None:
    context = read(PARENT[:-2] + "ff", "a=" + "b" * 511)

    assert context is not None
    assert context.headers() == {"traceparent": PARENT[:-2] + "03"}


@pytest.mark.parametrize("state", ["a=é", "a=b\r\nx: y", "a=\0"])
def test_a_state_that_no_header_may_hold_is_not_passed_on(state: str) -> None:
    context = read(PARENT, state)

    assert context is not None
    assert context.headers() == {"traceparent": PARENT}


PARTS = st.sampled_from(["00", "01", "ff", "cc", "-", "0" * 32, "a" * 32, "0" * 16, "b" * 16, "X", " ", "\0", "é", ""])


@given(parent=st.lists(PARTS, max_size=9).map("".join) | st.text(max_size=80), state=st.text(max_size=600))
def test_any_headers_give_a_context_that_reads_as_it_is_written_or_none(parent: str, state: str) -> None:
    context = read(parent, state)

    if context is not None:
        written = context.headers()
        assert read(written["traceparent"], written.get("tracestate", "")) == context
        assert all(text.isascii() and text.isprintable() for text in written.values())


# Where spans go.


@pytest.mark.parametrize(
    ("flag", "environment", "address"),
    [
        (None, {}, None),
        ("http://c:4318", {}, "http://c:4318/v1/traces"),
        ("https://c/otlp/", {}, "https://c/otlp/v1/traces"),
        ("http://c:4318/v1/traces", {}, "http://c:4318/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}, "http://c:4318/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/as/it/is"}, "http://c/as/it/is"),
        (
            None,
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b"},
            "http://b",
        ),
        ("http://c", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, "http://c/v1/traces"),
        ("http://c", {"OTEL_SDK_DISABLED": "true"}, None),
        (None, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, None),  # of whoever sends something else
        (
            None,
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            "http://a/v1/traces",
        ),
    ],
)
def test_the_flag_goes_before_opentelemetrys_own_variables(
    flag: str | None, environment: Mapping[str, str], address: str | None
) -> None:
    assert endpoint(flag, environment) == address


@pytest.mark.parametrize(
    "url", ["collector:4318", "grpc://c:4317", "http://", "http://u:p@c", "http://c:x", "http://["]
)
def test_an_address_that_cannot_be_one_is_refused_with_what_to_write(url: str) -> None:
    for flag, environment in ((url, {}), (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": url})):
        with pytest.raises(ValueError, match="write http://HOST:4318") as refused:
            endpoint(flag, environment)
        assert "u:p" not in str(refused.value)


@pytest.mark.parametrize(
    ("general", "traces", "named"), [("grpc", "", "OTLP"), ("http/protobuf", "grpc", "OTLP_TRACES")]
)
def test_another_protocol_is_refused(general: str, traces: str, named: str) -> None:
    protocols = {"OTEL_EXPORTER_OTLP_PROTOCOL": general, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": traces}
    with pytest.raises(ValueError, match=f"OTEL_EXPORTER_{named}_PROTOCOL: only http/protobuf is spoken"):
        endpoint(None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", **protocols})


@pytest.mark.parametrize(("text", "number"), [("0", 0.0), ("1", 1.0), ("0.01", 0.01), ("1.0", 1.0)])
def test_a_share_is_a_number_from_0_to_1(text: str, number: float) -> None:
    assert parse(["--bundle", "b", "--trace-sample", text], {}).trace_sample == number


@pytest.mark.parametrize("text", ["", "2", "1.5", "-0.1", "nan", "1e-3", "10%"])
def test_a_share_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--trace-sample: .* is not a number from 0 to 1"):
        parse(["--bundle", "b", f"--trace-sample={text}"], {})


# What is told.


def test_a_request_is_told_with_its_wait_and_its_run(collector: Collector) -> None:
    tracer, done = Tracer(FakeModel(), 1.0, collector), call()

    context = tracer.answered(request(traceparent=PARENT, tracestate="a=b"), done, done.arrived + 0.5, 9e9, None)

    (span,) = told(tracer, collector)
    assert context is not None
    assert span.parent is not None
    assert (span.name, span.kind, span.context, span.begun, span.ended) == (
        "POST /v2/models/fake/infer", "server", context, done.arrived, 9e9,
    )  # fmt: skip
    assert span.parent == read(PARENT, "a=b")
    assert (context.trace, context.state, context.sampled) == (span.parent.trace, "a=b", True)
    assert context.span != span.parent.span
    assert span.attributes == {
        "http.request.method": "POST",
        "http.route": "/v2/models/fake/infer",
        "http.response.status_code": 200,
        "url.path": "/v2/models/fake/infer",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "tidegate.model": "fake",
        "tidegate.revision": "r1",
        "tidegate.traffic": "requests",
        "tidegate.rows": 2,
    }
    queue, run = span.parts
    assert (queue.name, queue.begun, queue.ended) == ("queue", done.arrived + 0.5, done.started)
    assert (run.name, run.begun, run.ended) == ("run", done.started, done.ended)
    assert run.attributes == {"tidegate.batch.requests": 4, "tidegate.batch.rows": 8}


def test_a_request_over_tls_says_https(collector: Collector) -> None:
    tracer = Tracer(FakeModel(), 1.0, collector, tls=True)
    tracer.refused(request(), 1.0, 2.0, FULL)

    (span,) = told(tracer, collector)
    assert span.attributes["url.scheme"] == "https"


def test_a_call_that_waited_in_vain_has_no_run_and_one_given_up_in_its_run_no_parts(collector: Collector) -> None:
    tracer = Tracer(FakeModel(), 1.0, collector)
    for taken in (False, True):
        tracer.answered(request(), call(started=0.0, ended=0.0, taken=taken), time.monotonic(), 9e9, TooSlow("late"))

    waited, given_up = told(tracer, collector)
    assert [part.name for part in waited.parts] == ["queue"]
    assert given_up.parts == ()


@pytest.mark.parametrize(("status", "error"), [(400, None), (429, None), (500, "500"), (503, "503"), (504, "504")])
def test_only_what_is_the_servers_fault_is_an_error(collector: Collector, status: int, error: str | None) -> None:
    tracer = Tracer(FakeModel(), 1.0, collector)
    tracer.refused(request(), 1.0, 2.0, RequestError("no", status))

    (span,) = told(tracer, collector)
    assert span.attributes.get("error.type") == error
    assert "tidegate.rows" not in span.attributes


@pytest.mark.parametrize(
    ("error", "code", "fault"),
    [
        (None, "OK", None),
        (FULL, "RESOURCE_EXHAUSTED", None),
        (TooSlow("late"), "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"),
        (DeviceFull("send fewer rows"), "RESOURCE_EXHAUSTED", None),  # of OpenTelemetry's conventions, as the queue's
    ],
)
def test_the_span_of_a_call_says_what_its_client_was_told(
    collector: Collector, error: RequestError | None, code: str, fault: str | None
) -> None:
    tracer = Tracer(FakeModel(), 1.0, collector)
    tracer.answered(GrpcSource({}), call(), 1.0, 2.0, error)

    (span,) = told(tracer, collector)
    assert span.attributes["rpc.response.status_code"] == code
    assert span.attributes.get("error.type") == fault
    assert error is None or status_of(error) == NUMBERS[code]


def test_a_comparison_belongs_to_the_trace_of_the_request_that_it_repeats(collector: Collector) -> None:
    tracer, parent = Tracer(FakeModel(), 0.0, collector), read(PARENT, "")
    tracer.compared(parent, 1.0, 2.0, Found(False, {"y": (True, 0.5)}))
    tracer.compared(parent, 1.0, 2.0, Found(False, {"y": (False, 0.5)}))
    tracer.compared(None, 1.0, 2.0, Found(True, {}))
    tracer.compared(read(UNSAMPLED, ""), 1.0, 2.0, Found(True, {}))

    spans = told(tracer, collector)
    assert [(span.name, span.kind, span.parent) for span in spans] == [("compare", "consumer", parent)] * 2
    assert [span.attributes["tidegate.diverged"] for span in spans] == [True, False]


# Which.


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_whoever_began_the_trace_has_decided(collector: Collector, share: float) -> None:
    tracer = Tracer(FakeModel(), share, collector)
    tracer.refused(request(traceparent=PARENT), 1.0, 2.0, FULL)
    tracer.refused(request(traceparent=UNSAMPLED), 1.0, 2.0, FULL)

    assert [span.parent for span in told(tracer, collector)] == [read(PARENT, "")]


def test_of_the_others_a_share_is_traced_each_in_a_trace_of_its_own(collector: Collector) -> None:
    tracer = Tracer(FakeModel(), 0.25, collector)
    for _ in range(4000):
        tracer.refused(request(), 1.0, 2.0, FULL)

    spans = told(tracer, collector)
    assert 800 < len(spans) < 1200  # 7 standard deviations
    assert len({span.context.trace for span in spans}) == len(spans)
    assert all(span.parent is None for span in spans)


# What it may cost.


def test_what_does_not_fit_while_the_collector_is_slow_is_dropped_and_counted(collector: Collector) -> None:
    collector.open.clear()
    tracer = Tracer(FakeModel(), 1.0, collector)
    tracer.start()

    for _ in range(tracing.PLACES + 2000):
        tracer.refused(request(), 1.0, 2.0, FULL)

    assert tracer.dropped >= 2000 - tracing.MOST_SENT
    collector.open.set()
    tracer.stop()
    assert tracer.sent + tracer.dropped == tracing.PLACES + 2000
    assert len(collector.spans) == tracer.sent
    assert max(len(message) for message in collector.messages) == tracing.MOST_SENT


def test_at_the_end_what_waits_is_sent_in_as_many_messages_as_it_takes_without_a_pause(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "PAUSE_SECONDS", 3600.0)
    monkeypatch.setattr(tracing, "LAST_SECONDS", 0.0)
    collector.open.clear()
    tracer, count = Tracer(FakeModel(), 1.0, collector), 2 * tracing.MOST_SENT + 1
    for _ in range(count):
        tracer.refused(request(), 1.0, 2.0, FULL)
    told(tracer, collector)

    collector.open.set()

    wait_until(lambda: tracer.sent == count, "all are sent")


def test_what_the_collector_refuses_is_dropped_and_told_once(
    collector: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    collector.why = "401"
    tracer = Tracer(FakeModel(), 1.0, collector)
    tracer.start()
    for count in (1, 2):
        tracer.refused(request(), 1.0, 2.0, FULL)
        wait_until(lambda count=count: tracer.dropped == count, "it was refused")  # type: ignore[misc]
    collector.why = ""
    tracer.refused(request(), 1.0, 2.0, FULL)
    tracer.stop()

    assert (tracer.sent, tracer.dropped) == (1, 2)
    log = capsys.readouterr().err
    assert log.count("traces cannot be sent") == log.count("traces are sent again") == 1
    assert '"why": "401"' in log


def test_a_fault_in_sending_does_not_end_it(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    tracer = Tracer(FakeModel(), 1.0, collector)
    with monkeypatch.context() as broken:
        broken.setattr(collector, "messages", None)
        tracer.start()
        tracer.refused(request(), 1.0, 2.0, FULL)
        wait_until(lambda: tracer.dropped == 1, "it failed")
    tracer.refused(request(), 1.0, 2.0, FULL)
    tracer.stop()

    assert (tracer.sent, tracer.dropped) == (1, 1)


def test_the_end_waits_a_second_at_most_for_a_collector_that_hangs(collector: Collector) -> None:
    collector.open.clear()
    tracer = Tracer(FakeModel(), 1.0, collector)
    tracer.start()
    tracer.refused(request(), 1.0, 2.0, FULL)
    begun = time.monotonic()

    tracer.stop()

    assert time.monotonic() - begun < 10
    collector.open.set()
