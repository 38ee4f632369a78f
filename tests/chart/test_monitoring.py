"""Dashboards and alerts are made of metrics that exist, a real Prometheus understands them, and each alert leads somewhere."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.chart.asked import DASHBOARDS, alerts, dashboard, expressions, named, of_the_operator, of_the_servers
from tests.chart.helm import Helm, one
from tests.chart.variants import VARIANTS
from tests.control_plane import prometheus
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


def test_every_metric_that_is_read_exists() -> None:
    assert len(of_the_operator()) > 10 and len(of_the_servers()) > 30
    assert named() - of_the_operator() - of_the_servers() == set()


@pytest.fixture(scope="module")
def address(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with the alerts as the chart renders them, and nobody to scrape."""
    folder = tmp_path_factory.mktemp("prometheus") / "home"
    rule = one(helm.template(VARIANTS["everything of monitoring"]), "PrometheusRule")
    with prometheus.scraping(prometheus.find(), folder, [], rule["spec"]) as found:
        yield found


def answer(address: str, path: str, **query: str) -> Any:
    asked = f"{address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(asked, timeout=10) as found:
        return json.load(found)["data"]


@pytest.mark.timeout(900)  # the first may have to build Prometheus
@pytest.mark.slow
def test_a_real_prometheus_understands_every_expression(address: str) -> None:
    refused = {}
    for where, text in expressions().items():
        try:
            answer(address, "query", query=text)
        except urllib.error.HTTPError as error:
            refused[where] = error.read().decode()

    assert len(expressions()) > 30
    assert refused == {}


@pytest.mark.timeout(900)
@pytest.mark.slow
def test_where_nobody_is_scraped_only_nobody_leads(address: str) -> None:
    def evaluated() -> list[dict[str, Any]] | None:
        rules = [rule for group in answer(address, "rules")["groups"] for rule in group["rules"]]
        return rules if all(rule["health"] == "ok" for rule in rules) and len(rules) == len(alerts()) else None

    rules = wait_until(evaluated, lambda: f"all alerts are looked at: {answer(address, 'rules')}")

    assert {rule["name"]: rule["state"] for rule in rules if rule["state"] != "inactive"} == {
        "TidegateNobodyLeads": "pending"
    }


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_says_how_bad_it_is_and_leads_to_what_to_do(alert: dict[str, Any]) -> None:
    page, _, section = alert["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^##+ (.*)", (ROOT / "docs/operations.md").read_text(), re.M)

    assert page == "RUNBOOK"
    assert section in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert alert["annotations"]["summary"].endswith(".")
    assert alert["annotations"]["description"]


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_a_text_of_an_alert_uses_labels_that_its_expression_keeps(alert: dict[str, Any]) -> None:
    texts = f"{alert['annotations']['summary']} {alert['annotations']['description']}"
    kept = {label for part in re.findall(r"by \(([^)]*)\)", alert["expr"]) for label in part.split(", ")}

    assert set(re.findall(r"\$labels\.(\w+)", texts)) <= kept


def test_the_page_has_each_alert() -> None:
    page = (ROOT / "docs/operations.md").read_text()

    assert [alert["alert"] for alert in alerts() if f"`{alert['alert']}`" not in page] == []


def test_runbooks_lead_where_the_value_says(helm: Helm) -> None:
    rule = one(helm.template(VARIANTS["everything of monitoring"]), "PrometheusRule")

    found = [alert["annotations"]["runbook_url"] for group in rule["spec"]["groups"] for alert in group["rules"]]
    assert len(found) == len(alerts())
    assert all(url.startswith("https://wiki.example.com/tidegate#") for url in found)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_reaches_grafana_as_it_is_written(helm: Helm, name: str) -> None:
    config = one(helm.template(VARIANTS["everything of monitoring"]), "ConfigMap", f"tidegate-dashboard-{name}")

    assert json.loads(config["data"][f"tidegate-{name}.json"]) == dashboard(name)
    assert config["metadata"]["labels"]["grafana_dashboard"] == "yes"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_no_panel_of_a_dashboard_covers_another(name: str) -> None:
    panels = dashboard(name)["panels"]
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_who_is_scraped_is_who_has_metrics(helm: Helm) -> None:
    objects = helm.template(VARIANTS["everything of monitoring"])
    service, monitor = one(objects, "Service"), one(objects, "ServiceMonitor")
    [endpoint], [port] = monitor["spec"]["endpoints"], service["spec"]["ports"]

    labels = one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert endpoint["port"] == port["name"]
    assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack"


def test_of_some_namespaces_only_their_servers_are_scraped(helm: Helm) -> None:
    everywhere = one(helm.template(VARIANTS["everything of monitoring"]), "PodMonitor")
    some = one(helm.template(VARIANTS["monitoring of two namespaces"]), "PodMonitor")

    assert everywhere["spec"]["namespaceSelector"] == {"any": True}
    assert some["spec"]["namespaceSelector"] == {"matchNames": ["shop", "bank"]}
