"""Spans of a real server as a collector gets them: whose trace they are in, what they say, and what they never do."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opentelemetry.semconv._incubating.attributes import rpc_attributes
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    network_attributes,
    service_attributes,
    url_attributes,
)
from prometheus_client.parser import text_string_to_metric_families
from tests.runtime import slow_model
from tests.runtime import small_bundles as small
from tests.runtime.collector import Collector, Seen, collecting
from tests.runtime.conftest import Running, start
from tests.runtime.grpc_client import SERVICE, Client, Refusal, raw, refused
from tests.runtime.running_server import TOKEN, numbers, serve
from tests.waiting import wait_until

ONE = numbers([1.0, 2.0, 3.0, 4.0])
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
INFER = "POST /v2/models/fraud/infer"


@pytest.fixture(scope="module")
def traced(collector: Collector, bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    bundle = bundles(small.linear(), small.linear_samples())
    return serve(bundle, "--revision", "r7", "--grpc-port", "0", "--otlp-endpoint", collector.url)


def only(collector: Collector, name: str, **attributes: Any) -> Seen:
    """The one span of a name with these attributes (dots written as underscores)."""
    wanted = {key.replace("_", "."): value for key, value in attributes.items()}

    def look() -> list[Seen]:
        return [s for s in collector.spans if s.name == name and wanted.items() <= s.attributes.items()]

    wait_until(look, lambda: f"{name} {wanted} among {collector.spans}")
    (span,) = look()
    return span


def of_trace(collector: Collector, trace: str, name: str) -> Seen:
    def look() -> list[Seen]:
        return [span for span in collector.spans if span.trace == trace and span.name == name]

    wait_until(look, lambda: f"{name} of {trace} among {collector.spans}")
    (span,) = look()
    return span


def counted(running: Running, name: str) -> float:
    text = running.probe("/metrics").body.decode()
    return sum(s.value for f in text_string_to_metric_families(text) for s in f.samples if s.name == f"tidegate_{name}")


def test_a_request_is_a_span_of_its_clients_trace_and_says_how_it_waited_and_ran(
    traced: Running, collector: Collector
) -> None:
    before = time.time_ns()
    answer = traced.infer(ONE, headers={"traceparent": PARENT, "tracestate": "congo=t61rcWkgMzE"})
    after = time.time_ns()

    span = of_trace(collector, TRACE, INFER)
    assert answer.status == 200
    assert (span.kind, span.parent, span.state, span.failed) == ("SERVER", SPAN, "congo=t61rcWkgMzE", False)
    assert span.attributes == {
        http_attributes.HTTP_REQUEST_METHOD: "POST",
        http_attributes.HTTP_ROUTE: "/v2/models/fraud/infer",
        http_attributes.HTTP_RESPONSE_STATUS_CODE: 200,
        url_attributes.URL_PATH: "/v2/models/fraud/infer",
        url_attributes.URL_SCHEME: "http",
        network_attributes.NETWORK_PROTOCOL_VERSION: "1.1",
        "tidegate.model": "fraud",
        "tidegate.revision": "r7",
        "tidegate.traffic": "requests",
        "tidegate.rows": 1,
    }
    queue, run = collector.below(span)
    assert (queue.name, run.name, run.attributes) == (
        "queue", "run", {"tidegate.batch.requests": 1, "tidegate.batch.rows": 1},
    )  # fmt: skip
    times = [before, span.begun, queue.begun, queue.ended, run.ended, span.ended, after]
    tolerated = 2_000_000  # ns: the two clocks are read one after the other
    assert all(a <= b + tolerated for a, b in pairwise(times)), times
    assert queue.ended == run.begun


def test_who_serves_is_said_once_for_all_spans(traced: Running, collector: Collector) -> None:
    traced.infer(ONE)

    resource = collector.named(INFER)[0].resource
    said = {name: resource[name] for name in (service_attributes.SERVICE_NAME, service_attributes.SERVICE_VERSION)}
    assert said == {"service.name": "fraud", "service.version": "v1"}
    assert resource["service.instance.id"]


def test_a_request_of_nobodys_trace_begins_one(traced: Running, collector: Collector) -> None:
    already = {span.trace for span in collector.spans}
    traced.infer(ONE, headers={"traceparent": "00-nonsense"})

    def fresh() -> list[Seen]:
        return [s for s in collector.spans if s.name == INFER and s.trace not in already and s.trace != TRACE]

    span = wait_until(fresh, "a new trace")[0]
    assert span.parent == ""
    assert len(span.trace) == 32


def test_a_state_that_is_none_is_left_out_and_nothing_else(traced: Running, collector: Collector) -> None:
    trace = "6" * 32
    assert (
        traced.infer(ONE, headers={"traceparent": f"00-{trace}-{SPAN}-01", "tracestate": "=,no state==,"}).status == 200
    )

    span = of_trace(collector, trace, INFER)
    assert (span.parent, span.state) == (SPAN, "")


def test_over_grpc_the_context_is_in_the_metadata_and_the_attributes_are_those_of_rpc(
    traced: Running, collector: Collector
) -> None:
    trace = "1" * 32
    asked = raw("x", "FP32", [2, 4], np.arange(8, dtype=np.float32).tobytes())
    with Client(traced.grpc) as client:
        client.infer(asked, metadata=(("traceparent", f"00-{trace}-{SPAN}-01"), ("tracestate", "a=b")))

    span = of_trace(collector, trace, f"{SERVICE[1:]}/ModelInfer")
    assert (span.kind, span.parent, span.state) == ("SERVER", SPAN, "a=b")
    assert span.attributes == {
        rpc_attributes.RPC_SYSTEM_NAME: "grpc",
        rpc_attributes.RPC_METHOD: f"{SERVICE[1:]}/ModelInfer",
        rpc_attributes.RPC_RESPONSE_STATUS_CODE: "OK",
        "tidegate.model": "fraud",
        "tidegate.revision": "r7",
        "tidegate.traffic": "requests",
        "tidegate.rows": 2,
    }
    assert [part.name for part in collector.below(span)] == ["queue", "run"]


def test_what_is_refused_is_told_without_being_an_error_of_the_server(traced: Running, collector: Collector) -> None:
    trace = "2" * 32
    assert traced.infer({"inputs": []}, headers={"traceparent": f"00-{trace}-{SPAN}-01"}).status == 400
    with Client(traced.grpc) as client:
        parent = (("traceparent", f"00-{'3' * 32}-{SPAN}-01"), ("x-tidegate-pinned", "1"))
        told = refused(lambda: client.infer(raw("x", "FP32", [1, 4], b"short"), metadata=parent))

    over_http = of_trace(collector, trace, INFER)
    over_grpc = of_trace(collector, "3" * 32, f"{SERVICE[1:]}/ModelInfer")
    assert (over_http.failed, over_http.attributes[http_attributes.HTTP_RESPONSE_STATUS_CODE]) == (False, 400)
    assert isinstance(told, Refusal)
    assert over_grpc.attributes[rpc_attributes.RPC_RESPONSE_STATUS_CODE] == "INVALID_ARGUMENT"
    assert (over_grpc.failed, over_grpc.attributes["tidegate.traffic"]) == (False, "pinned")
    assert collector.below(over_http) == collector.below(over_grpc) == []


def test_v1_requests_are_told_too(traced: Running, collector: Collector) -> None:
    body = json.dumps({"instances": [[1, 2, 3, 4]]}).encode()
    assert traced.ask("POST", "/v1/models/fraud:predict?x=secret", body).status == 200

    span = collector.named("POST /v1/models/fraud:predict")[0]
    assert "secret" not in str(span)


def test_a_run_that_takes_too_long_is_an_error(
    collector: Collector, bundles: Callable[..., Path], serve: Callable[..., Running]
) -> None:
    bundle = bundles(slow_model.stepping(), [slow_model.sample()], name="slow")
    slow = serve(bundle, "--request-timeout", "300ms", "--otlp-endpoint", collector.url)
    assert slow.infer(slow_model.request(slow_model.ENDLESS), model="slow").status == 504

    span = collector.named("POST /v2/models/slow/infer")[0]
    assert span.failed
    assert span.attributes[error_attributes.ERROR_TYPE] == "504"


def test_spans_never_hold_what_was_sent_or_answered(traced: Running, collector: Collector) -> None:
    traced.infer(numbers([31337.5, 0.0, 0.0, 0.0]) | {"id": "a-name-of-the-client"})
    collector.named(INFER, len(collector.named(INFER)))

    told = str(collector.spans)
    assert "31337" not in told
    assert "a-name-of-the-client" not in told
    assert not [key for span in collector.spans for key in span.attributes if "header" in key or "body" in key]


def test_nothing_is_lost_at_the_end(
    collector: Collector, bundles: Callable[..., Path], serve: Callable[..., Running]
) -> None:
    ending = serve(bundles(small.linear(), small.linear_samples()), "--name", "last", "--otlp-endpoint", collector.url)
    for _ in range(10):
        assert ending.infer(ONE, model="last").status == 200

    assert ending.end() == 0
    assert len([span for span in collector.spans if span.name == "POST /v2/models/last/infer"]) == 10


def test_a_collector_that_is_away_costs_nobody_an_answer_and_the_loss_is_counted(
    bundles: Callable[..., Path], serve: Callable[..., Running]
) -> None:
    with collecting() as found:
        bundle = bundles(small.linear(), small.linear_samples())
        running = serve(bundle, "--otlp-endpoint", found.url)
        found.status = 403
        assert [running.infer(ONE).status for _ in range(5)] == [200] * 5
        wait_until(lambda: counted(running, "traces_dropped_total") == 5, "the loss is counted")
        found.status = 200
        assert running.infer(ONE).status == 200
        wait_until(lambda: counted(running, "traces_sent_total") == 1, "it is sent again")

    assert found.named(INFER)
    lines = [running.line(), running.line()]
    assert "traces cannot be sent" in lines[0]
    assert "403" in lines[0]
    assert "traces are sent again" in lines[1]


def test_opentelemetrys_own_variables_do_the_same_as_the_flag(tmp_path: Path) -> None:
    bundle = small.write_bundle(tmp_path / "bundle", small.linear(), small.linear_samples())
    with collecting() as found:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": found.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-api-key=of-the-collector",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_SERVICE_NAME": "shop-fraud",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
            "TIDEGATE_TRACE_SAMPLE": "0",
        }
        with serve(bundle, tmp_path / "run", environment=environment) as running:
            running.until_ready()
            for parent in ("", PARENT):  # nobody's own is sampled
                assert running.infer(ONE, traceparent=parent).status == 200
            span = found.named(INFER)[0]

    assert span.trace == TRACE
    assert (span.resource["service.name"], span.resource["deployment.environment.name"]) == ("shop-fraud", "test")
    assert (found.headers[0]["x-api-key"], found.headers[0]["content-encoding"]) == ("of-the-collector", "gzip")


def test_a_shadowed_request_carries_its_trace_to_the_candidate(tmp_path: Path, collector: Collector) -> None:
    trace = "5" * 32
    stable = small.write_bundle(tmp_path / "stable", small.linear(), small.linear_samples())
    other = small.write_bundle(tmp_path / "other", small.linear(small.WEIGHTS[:, ::-1].copy()), version="v2")
    flag = ("--otlp-endpoint", collector.url)
    with (
        serve(stable, tmp_path / "1", "--revision", "r1", *flag) as one,
        serve(other, tmp_path / "2", "--revision", "r2", *flag) as two,
    ):
        one.until_ready()
        two.until_ready()
        assert two.ask("PUT", "/internal/rules", b'{"top1": true, "outputs": []}').status == 204
        aim = {"target": f"http://127.0.0.1:{two.metrics}", "percent": 100, "ttlSeconds": 60, "token": TOKEN}
        assert one.ask("PUT", "/internal/shadow", json.dumps(aim).encode()).status == 204
        parent = {"traceparent": f"00-{trace}-{SPAN}-01", "tracestate": "a=b"}
        one.infer(ONE, **parent)

        served, compared = of_trace(collector, trace, INFER), of_trace(collector, trace, "compare")

    assert served.attributes["tidegate.revision"] == "r1"
    assert (compared.parent, compared.kind, compared.state) == (served.id, "CONSUMER", "a=b")
    assert compared.attributes == {"tidegate.model": "fraud", "tidegate.revision": "r2", "tidegate.diverged": True}


def test_without_a_collector_nothing_of_it_is_imported_and_nothing_is_said(fraud: Running) -> None:
    assert fraud.infer(ONE, headers={"traceparent": PARENT}).status == 200
    assert b"tidegate_traces" not in fraud.probe("/metrics").body

    code = "import sys, tidegate_runtime.serve; print([name for name in sys.modules if 'opentelemetry' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("address", ["collector:4318", "http://user:password@collector"])
def test_an_address_that_is_none_ends_the_server_with_what_to_write(bundles: Callable[..., Path], address: str) -> None:
    running = start(bundles(small.linear(), small.linear_samples()), "--otlp-endpoint", address)
    line = running.line()

    assert running.process.wait(timeout=20) == 2
    assert "--otlp-endpoint: write http://HOST:4318" in line
    assert "password" not in line
    for stream in (running.process.stdout, running.process.stderr):
        assert stream is not None
        stream.close()
