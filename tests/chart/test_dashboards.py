"""The dashboards are ones that Grafana knows, and each panel says what it shows: rules of Grafana's dashboard linter."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from tests.chart.asked import DASHBOARDS, dashboard, panels, targets

RATES = re.compile(r"\b(?:rate|increase|irate)\([^\[\]]*\[([^\]]+)\]\)")
FIXED = {"1h", "24h"}  # in panels that say so
every_panel = pytest.mark.parametrize("panel", panels(), ids=lambda panel: str(panel["title"]))


@pytest.fixture(scope="module", autouse=True)
def plugins() -> None:
    register_default_plugins()


def lost(written: Any, known: Any, where: str = "") -> Iterator[str]:
    """What of a document is not there any more when it has been read as Grafana's type and written again."""
    if isinstance(written, dict) and isinstance(known, dict):
        for name, value in written.items():
            yield from lost(value, known[name], f"{where}.{name}") if name in known else [f"{where}.{name}"]
    elif isinstance(written, list) and isinstance(known, list) and len(written) == len(known):
        for place, (one, other) in enumerate(zip(written, known, strict=True)):
            yield from lost(one, other, f"{where}[{place}]")
    elif written != known:
        yield where


def read_and_written(document: Any) -> Any:
    return json.loads(json.dumps(Dashboard.from_json(document), cls=JSONEncoder))


@pytest.mark.parametrize("name", DASHBOARDS)
def test_grafanas_own_types_know_everything_in_a_dashboard(name: str) -> None:
    assert [*lost(dashboard(name), read_and_written(dashboard(name)))] == []


def test_a_field_that_grafana_does_not_know_is_found() -> None:
    document = json.loads(json.dumps(dashboard("rollout")))
    document["panels"][0]["targets"][0]["expresion"] = "up"
    document["panels"][1]["options"]["legnd"] = {}

    assert [*lost(document, read_and_written(document))] == [
        ".panels[0].targets[0].expresion",
        ".panels[1].options.legnd",
    ]


@every_panel
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["title"] and panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]


@every_panel
def test_a_panel_asks_the_prometheus_that_is_chosen(panel: dict[str, Any]) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}

    assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])] == [
        chosen for _ in range(len(panel["targets"]) + 1)
    ]


@every_panel
def test_every_line_of_a_panel_has_a_name_of_its_own(panel: dict[str, Any]) -> None:
    legends = [target["legendFormat"] for target in panel["targets"]]

    assert all(legends) and len(legends) == len(set(legends))
    assert [target["refId"] for target in panel["targets"]] == [*"ABCD"[: len(legends)]]


@pytest.mark.parametrize("target", targets(), ids=lambda target: f"{target.panel} {target.ref}")
def test_a_rate_is_over_as_long_as_the_scrapes_need(target: Any) -> None:
    spans = set(RATES.findall(target.expression))

    assert spans <= {"$__rate_interval", *FIXED}


@pytest.mark.parametrize("target", [one for one in targets() if one.dashboard == "rollout"], ids=lambda one: one.panel)
def test_of_one_model_every_metric_is_chosen_by_both_variables(target: Any) -> None:
    selectors = re.findall(r"tidegate_\w+(\{[^}]*\})?", target.expression)

    assert all('namespace="$namespace", model="$model"' in selector for selector in selectors)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_can_be_found_and_its_prometheus_chosen(name: str) -> None:
    found = dashboard(name)

    assert found["uid"] == f"tidegate-{name}" and found["title"].startswith("Tidegate / ") and found["description"]
    assert found["templating"]["list"][0] | {"label": ""} == {
        "name": "datasource", "label": "", "type": "datasource", "query": "prometheus",
    }  # fmt: skip
    assert "id" not in found
