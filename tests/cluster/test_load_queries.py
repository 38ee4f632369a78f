"""What KEDA and prometheus-adapter ask: on a real Prometheus their queries give what the operator itself would answer."""

from __future__ import annotations

import contextlib
import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from tests.cluster.metrics_api import PAGE
from tests.control_plane import prometheus as real
from tests.unit.plan.manifests.parts import OLD, wanted
from tests.waiting import wait_until

from tidegate.api.scaling import Scaling
from tidegate.plan.load import MEASURES
from tidegate.plan.manifests.identity import Owner
from tidegate.plan.manifests.keda import scaled_object

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # it may have to build Prometheus
DOCS = Path(__file__).parents[2] / "docs/autoscaling.md"
OWNER = Owner("shop", "fraud", "uid")
LABELS = f'namespace="shop",model="fraud",revision="{OLD}"'
IN_WORK = 3.0  # on each of two servers
EXPECTED = {
    "tidegate_concurrency": 6.0, "tidegate_requests_per_second": 60.0, "tidegate_queue_seconds": 0.05,
    "tidegate_gpu_utilization": 80.0,
}  # fmt: skip
TARGETS = {
    "tidegate_concurrency": {"concurrency": 2}, "tidegate_requests_per_second": {"requestsPerSecond": 20},
    "tidegate_queue_seconds": {"queueTime": "20ms"}, "tidegate_gpu_utilization": {"gpuUtilization": 70},
}  # fmt: skip


@contextlib.contextmanager
def server() -> Iterator[int]:
    """A page that counts steadily: requests of 0.1 s each, half of which is waiting."""
    began = time.monotonic()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            busy = (time.monotonic() - began) * IN_WORK
            page = PAGE.format(busy=busy, requests=busy * 10, waited=busy / 2)
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(page.replace('model="fraud"', f'model="fraud",revision="{OLD}"').encode())

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    Thread(target=listening.serve_forever, daemon=True).start()
    yield listening.server_address[1]
    listening.shutdown()
    listening.server_close()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = real.find()
    with contextlib.ExitStack() as stack:
        pods = [real.Target(stack.enter_context(server()), {"namespace": "shop", "pod": f"p{i}"}) for i in range(2)]
        yield stack.enter_context(real.scraping(program, tmp_path_factory.mktemp("queries") / "prometheus", pods))


def asked(prometheus: str, query: str) -> float:
    """Its one value; over ten seconds instead of a minute, which nobody needs to wait for here."""
    question = urllib.parse.urlencode({"query": query.replace("[1m]", "[10s]")})
    with urllib.request.urlopen(f"{prometheus}/api/v1/query?{question}", timeout=5) as answer:
        found = json.loads(answer.read())["data"]["result"]
    [value] = [float(one["value"][1]) for one in found] or [float("nan")]
    return value


def becomes(prometheus: str, query: str, value: float) -> None:
    wait_until(
        lambda: asked(prometheus, query) == pytest.approx(value, rel=0.1),
        lambda: f"{query}: {asked(prometheus, query)} instead of {value}",
        40,
    )


def rules() -> list[Mapping[str, Any]]:
    [block] = [text for text in re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.S) if "externalRules" in text]
    found: list[Mapping[str, Any]] = yaml.safe_load(block)["externalRules"]
    return found


@pytest.mark.parametrize("metric", MEASURES)
def test_keda_is_told_what_the_operator_would_answer(prometheus: str, metric: str) -> None:
    scaling = Scaling.model_validate({"maxReplicas": 8, "provider": "KEDA", "target": TARGETS[metric]})
    [trigger] = scaled_object(OWNER, wanted(OLD, 1, 8), scaling, {"main": prometheus})["spec"]["triggers"]

    becomes(prometheus, trigger["metadata"]["query"], EXPECTED[metric])


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["name"]["as"])
def test_the_rules_for_the_adapter_give_what_the_operator_would_answer(
    prometheus: str, rule: Mapping[str, Any]
) -> None:
    series, _, _ = rule["seriesQuery"].partition("{")
    query = rule["metricsQuery"].replace("<<.Series>>", series).replace("<<.LabelMatchers>>", LABELS)

    becomes(prometheus, query, EXPECTED[rule["name"]["as"]])
    assert asked(prometheus, f"count({rule['seriesQuery']})") >= 2


def test_there_is_a_rule_for_each_metric() -> None:
    assert [rule["name"]["as"] for rule in rules()] == list(MEASURES)


def test_without_servers_or_requests_the_queue_is_no_reason_for_more(prometheus: str) -> None:
    scaling = Scaling.model_validate({"maxReplicas": 8, "provider": "KEDA", "target": {"queueTime": "20ms"}})
    elsewhere = Owner("elsewhere", "fraud", "uid")
    [trigger] = scaled_object(elsewhere, wanted(OLD, 1, 8), scaling, {"main": prometheus})["spec"]["triggers"]

    assert asked(prometheus, trigger["metadata"]["query"]) == 0
