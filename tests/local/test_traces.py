"""A client's trace goes through the front to the server that answers, whose spans go where the manifest says."""

from __future__ import annotations

from tests.local.local_run import Local
from tests.runtime.collector import collecting

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_the_front_hands_a_clients_trace_on_to_the_server(local: Local) -> None:
    with collecting() as collector:
        endpoint = {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": collector.url}
        sample = {"name": "TIDEGATE_TRACE_SAMPLE", "value": "0"}
        local.write("v1", runtime={"env": [endpoint, sample]})
        local.start()

        parent = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "congo=t61rcWkgMzE"}
        assert local.ask(parent)[0] == 200

        (span,) = collector.named("POST /v2/models/fraud/infer")
        assert (span.trace, span.parent, span.state) == (TRACE, SPAN, "congo=t61rcWkgMzE")
        assert span.resource["service.name"] == "fraud"
