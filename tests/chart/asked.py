"""Dashboards and alerts of the chart as texts: what they ask, and the metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from tests.chart.helm import CHART

ROOT = Path(__file__).parents[2]
DASHBOARDS = ("operator", "rollout")
METRIC = re.compile(r"\b(?:tidegate|process)_[a-z_]+")
INTERVALS = {"$__rate_interval": "5m", "$namespace": "shop", "$model": "fraud"}


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"]
    return [alert for group in groups for alert in group["rules"]]


@cache
def dashboard(name: str) -> Any:
    return json.loads((CHART / f"files/dashboards/{name}.json").read_text())


@dataclass(frozen=True, slots=True)
class Target:
    """One line of a panel: what it asks, and what its lines are called."""

    dashboard: str
    panel: str
    ref: str
    expression: str
    legend: str

    def asked(self, **values: str) -> str:
        """The expression with Grafana's variables given."""
        text = self.expression
        for name, value in values.items():
            text = text.replace(f"${name}", value)
        return text

    @property
    def labels(self) -> frozenset[str]:
        """Those that its legend names."""
        return frozenset(re.findall(r"{{\s*(\w+)\s*}}", self.legend))

    def named(self, metric: Mapping[str, str]) -> str:
        """What Grafana calls a line."""
        return re.sub(r"{{\s*(\w+)\s*}}", lambda found: metric.get(found[1], ""), self.legend)


def panels() -> list[dict[str, Any]]:
    """Of all dashboards."""
    return [panel for name in DASHBOARDS for panel in dashboard(name)["panels"]]


def targets() -> list[Target]:
    return [
        Target(name, panel["title"], target["refId"], target["expr"], target["legendFormat"])
        for name in DASHBOARDS
        for panel in dashboard(name)["panels"]
        for target in panel["targets"]
    ]


def expressions() -> dict[str, str]:
    """By where they stand; Grafana's variables have values."""
    found = {alert["alert"]: alert["expr"] for alert in alerts()}
    for name in DASHBOARDS:
        for panel in dashboard(name)["panels"]:
            found |= {f"{name}: {panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    for variable, value in INTERVALS.items():
        found = {where: text.replace(variable, value) for where, text in found.items()}
    return found


def named() -> set[str]:
    """The metrics that they read; of a histogram its own name."""
    texts = [*expressions().values(), *queries_of_variables()]
    found = {name for text in texts for name in METRIC.findall(text)}
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}


def queries_of_variables() -> list[str]:
    rows = [row for name in DASHBOARDS for row in dashboard(name)["templating"]["list"]]
    return [row["query"]["query"] for row in rows if row["type"] == "query"]


@cache
def of_the_operator() -> frozenset[str]:
    """As docs/operations.md lists them; without the label names, and `_total` as a scraper sees it."""
    table = (ROOT / "docs/operations.md").read_text().partition("## Metrics")[2].partition("```promql")[0]
    found = re.findall(r"^\| `(\w+)", table, re.M)
    return frozenset(found) | {"process_cpu_seconds_total", "process_resident_memory_bytes"}


@cache
def of_the_servers() -> frozenset[str]:
    """As docs/observability.md lists them, which its own tests compare with what a server says."""
    table = (
        (ROOT / "docs/observability.md").read_text().partition("## Metrics")[2].partition("What to look at first")[0]
    )
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return frozenset(f"tidegate_{name}" for cell in cells for name in re.findall(r"`(\w+)`", cell))
