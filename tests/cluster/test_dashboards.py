"""Every panel of the dashboards shows something of a real rollout: asked as Grafana asks, of a real Prometheus.

It scrapes an operator and the model servers of both versions, while users send requests and the version is promoted.
"""

from __future__ import annotations

import json
import math
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.chart.asked import DASHBOARDS, Target, dashboard, targets
from tests.cluster.clients import Clients
from tests.cluster.drawn import Lines, draw, numbers
from tests.cluster.operating import HOME, Operator, Site, fact, grant
from tests.control_plane import prometheus
from tests.control_plane.plane import Plane
from tests.local.local_run import bundles
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the first may have to build Prometheus
SHADOWED = {"steps": [{"weight": 50, "hold": "manual"}], "shadow": {"percent": 100}}
RATE_INTERVAL = "4s"  # as Grafana makes it of one scrape a second
SCRAPES = 6
Series = list[dict[str, Any]]


@dataclass(frozen=True)
class Seen:
    """What Prometheus has seen of a rollout, from its first scrape to the last."""

    url: str
    namespace: str
    since: float
    until: float

    def answer(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10) as found:
            return json.load(found)["data"]

    def series(self, target: Target) -> Series:
        """The lines that a panel draws."""
        text = target.asked(__rate_interval=RATE_INTERVAL, namespace=self.namespace, model="fraud")
        span = {"start": f"{self.since}", "end": f"{self.until}", "step": "1"}
        found: Series = self.answer("query_range", query=text, **span)["result"]
        return [one for one in found if any(math.isfinite(float(value)) for _, value in one["values"])]


def candidate_is_held(site: Site) -> str:
    held = site.until(lambda one: fact(one, "Reconciling").get("reason") == "WaitingForPromote", 60)
    return str(held["status"]["candidate"]["revision"])


@pytest.fixture(scope="module")
def seen(control_plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder, program = tmp_path_factory.mktemp("dashboards"), prometheus.find()
    grant(control_plane)
    site = Site(control_plane, control_plane.new_namespace())
    site.mount(bundles(folder / "store"))
    with ExitStack() as stack:
        stack.callback(control_plane.client.delete, "namespaces", "", site.namespace)
        operator = Operator(control_plane, folder / "operator").start().leads()
        stack.callback(operator.close)
        site.apply("v1")
        site.until_serving("v1")
        clients = stack.enter_context(Clients(site))
        site.apply("v2")
        site.until_serving("v2", 60)
        site.apply("v1", rollout=SHADOWED)
        revision = candidate_is_held(site)
        site.command("abort", f"{revision}@2026-01-01T00:00:01Z")
        site.until_reason("Stalled", "Aborted")
        site.until(lambda one: not one["status"].get("candidate"))
        site.command("retry", f"{revision}@2026-01-01T00:00:02Z")
        candidate_is_held(site)
        url = stack.enter_context(prometheus.scraping(program, folder / "prometheus", scraped(operator, site)))
        yield watched(Seen(url, site.namespace, time.time(), 0), operator, site, clients, revision)


def scraped(operator: Operator, site: Site) -> list[prometheus.Target]:
    """With the labels that the chart's monitors give."""
    servers = [
        prometheus.Target(9090, {"namespace": site.namespace, "pod": pod["metadata"]["name"]}, pod["status"]["podIP"])
        for pod in site.servers()
    ]
    return [prometheus.Target(operator.port(), {"namespace": HOME, "pod": "operator"}), *servers]


def watched(seen: Seen, operator: Operator, site: Site, clients: Clients, revision: str) -> Seen:
    def scrapes() -> bool:
        found = seen.answer("query", query=f"min(count_over_time(up[{SCRAPES + 2}s]))")["result"]
        return bool(found) and float(found[0]["value"][1]) >= SCRAPES

    wait_until(scrapes, "everybody is scraped", 30)
    clients.more(20, "v1")
    site.command("promote", f"{revision}@2026-01-01T00:00:03Z")
    site.until_serving("v1", 60)
    promoted = 'sum(increase(tidegate_rollouts_total{outcome="promoted"}[1m])) > 0'
    wait_until(lambda: seen.answer("query", query=promoted)["result"], "the end of the rollout is scraped", 30)
    return Seen(seen.url, seen.namespace, seen.since, time.time() + 1)  # the last step may be before the last scrape


@pytest.mark.parametrize("target", targets(), ids=lambda one: f"{one.dashboard}: {one.panel} {one.ref}")
def test_a_panel_shows_a_rollout(seen: Seen, target: Target) -> None:
    found = seen.series(target)

    assert found, "no data"
    missing = [one["metric"] for one in found if not target.labels <= set(one["metric"])]
    assert missing == [], "labels of the legend that a line does not have"
    legends = [tuple(sorted((name, one["metric"][name]) for name in target.labels)) for one in found]
    assert len(set(legends)) == len(legends), "two lines of one name"


PICTURES = Path(__file__).parents[2] / "build/dashboards"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_whole_dashboard_is_drawn(seen: Seen, name: str) -> None:
    asked = [target for target in targets() if target.dashboard == name]
    panels = dashboard(name)["panels"]
    shown = {panel["title"]: lines_of(seen, [one for one in asked if one.panel == panel["title"]]) for panel in panels}

    picture = draw(name, ((panel, shown[panel["title"]]) for panel in panels))

    drawn = ElementTree.fromstring(picture)
    lines = [one for one in drawn.iter() if one.tag.endswith("polyline") or one.get("class") == "stat"]
    assert len(lines) == sum(
        len(found) if panel["type"] != "stat" else 1 for panel in panels if (found := shown[panel["title"]])
    )
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / f"{name}.svg").write_text(picture)


def lines_of(seen: Seen, panel: list[Target]) -> Lines:
    """All lines of a panel, by their legends."""
    return {target.named(one["metric"]): numbers(one) for target in panel for one in seen.series(target)}


def test_what_the_variables_offer_is_what_there_is(seen: Seen) -> None:
    chosen = {"match[]": "tidegate_ready"}
    assert seen.answer("label/namespace/values", **chosen) == [seen.namespace]
    assert seen.answer("label/model/values", **{"match[]": f'tidegate_ready{{namespace="{seen.namespace}"}}'}) == [
        "fraud"
    ]


def test_both_versions_are_seen_side_by_side(seen: Seen) -> None:
    (share,) = [one for one in targets() if one.panel == "Share of the requests"]

    assert {one["metric"]["version"] for one in seen.series(share)} == {"v1", "v2"}
