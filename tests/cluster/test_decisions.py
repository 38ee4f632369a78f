"""Who decided what, on which numbers: the operator's log, the history and the report tell the same of a real rollout.

One story with real model servers: a version is held, the operator restarts, a person promotes by name, and the next
version is sent back by the analysis.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.clients import Clients
from tests.cluster.operating import GROUP, QUICK, Operator, Site, fact, grant, serves
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.control_plane.users import STRANGER
from tests.local.local_run import bundles
from tests.runtime.collector import Collector, Seen, collecting
from tests.waiting import wait_until

from tidegate.api.decision import Decision

pytestmark = pytest.mark.slow
KUBECTL_TIDEGATE = str(Path(sys.executable).with_name("kubectl-tidegate"))
MANUAL = {"steps": [{"weight": 50, "hold": "manual"}]}
DIFFERING = {**QUICK, "minRequests": 5, "maxDivergence": {"outputs": [{"name": "scores", "atol": 1e-6, "rtol": 0}]}}


@dataclass
class Told:
    """What is left of the story."""

    site: Site
    operator: Operator
    kubeconfig: Path
    collector: Collector
    first: str  # revisions
    second: str

    def log(self) -> list[Object]:
        """Decisions about this deployment, in the order of the log."""
        mine = (line for line in self.operator.lines() if line.get("namespace") == self.site.namespace)
        return [line for line in mine if "decision" in line]

    def decisions(self) -> list[Object]:
        return [line["decision"] for line in self.log()]

    def one(self, reason: str, revision: str) -> Object:
        (found,) = [one for one in self.decisions() if (one["reason"], one.get("revision")) == (reason, revision)]
        return found

    def runs(self, *arguments: str) -> str:
        """What a command of the person says."""
        done = subprocess.run(
            [KUBECTL_TIDEGATE, *arguments], env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def may(site: Site, *rules: Object) -> None:
    """The stranger's rights."""
    group, meta = "rbac.authorization.k8s.io", {"name": "stranger", "namespace": site.namespace}
    site.plane.client.apply({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": list(rules)})
    site.plane.client.apply({
        "apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": meta,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "stranger"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": STRANGER.name}],
    })  # fmt: skip


@pytest.fixture(scope="module")
def told(control_plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("decisions")
    grant(control_plane)
    site = Site(control_plane, control_plane.new_namespace())
    site.mount(bundles(folder / "store"))
    may(
        site,
        {"apiGroups": [GROUP], "resources": ["modeldeployments"], "verbs": ["get", "patch"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
    )
    kubeconfig = control_plane.client_of(STRANGER).kubeconfig(folder / "kubeconfig", site.namespace)
    with collecting() as collector:
        operator = Operator(control_plane, folder / "operator", ("--otlp-endpoint", collector.url)).start().leads()
        try:
            yield story(Told(site, operator, kubeconfig, collector, "", ""))
        finally:
            operator.close()
            control_plane.client.delete("namespaces", "", site.namespace)


def story(told: Told) -> Told:
    site = told.site
    site.apply("v1")
    told.first = site.until_serving("v1")["status"]["stable"]["revision"]
    with Clients(site) as clients:
        site.apply("v2", rollout=MANUAL)
        held = site.until(lambda one: fact(one, "Reconciling").get("reason") == "WaitingForPromote")
        told.second = held["status"]["candidate"]["revision"]
        assert told.operator.stop() == 0
        told.operator.start()
        told.runs("promote", "fraud")
        site.until_serving("v2", 60)
        site.apply("v1", rollout={**MANUAL, "analysis": DIFFERING})
        site.until_reason("Stalled", "DivergenceExceeded", 60)
        site.until(lambda one: serves(one, "v2") and not one["status"].get("candidate"))
        clients.more(1, "v2")
    wait_until(
        lambda: [one["number"] for one in course(site)][-1:] == [told.decisions()[-1]["number"]], "it is written", 60
    )
    return told


def course(site: Site) -> list[Object]:
    """The decisions in the ConfigMap."""
    found = site.plane.client.get("configmaps", site.namespace, "fraud-course") or {"data": {"course.jsonl": ""}}
    rows = [json.loads(line) for line in found["data"]["course.jsonl"].splitlines()]
    return [event for row in rows for event in row["events"]]


def test_every_decision_is_one_line_of_the_log_and_none_is_missing_or_told_twice(told: Told) -> None:
    assert [one["number"] for one in told.decisions()] == [*range(1, told.site.get()["status"]["decisions"] + 1)]
    assert all(line["logger"] == "tidegate.decisions" and line["name"] == "fraud" for line in told.log())
    assert all(Decision.model_validate(one) for one in told.decisions())


def test_what_is_told_is_what_happened(told: Told) -> None:
    steps = ("RolloutStarted", "WeightRaised", "StepPromoted", "Promoted", "RolledBack", "Settled")
    happened = [(one["reason"], one["revision"]) for one in told.decisions() if one["reason"] in steps]

    assert happened == [
        ("RolloutStarted", told.first), ("Promoted", told.first),
        ("RolloutStarted", told.second), ("WeightRaised", told.second),
        ("StepPromoted", told.second), ("WeightRaised", told.second), ("Promoted", told.second),
        ("RolloutStarted", told.first), ("WeightRaised", told.first), ("RolledBack", told.first),
        ("Settled", told.first),
    ]  # fmt: skip


def test_the_person_who_promoted_is_named(told: Told) -> None:
    promoted = told.one("StepPromoted", told.second)

    assert promoted["by"]["kind"] == "Person"
    assert promoted["by"]["name"] == STRANGER.name
    assert promoted["by"]["command"].startswith(f"promote {told.second}/1@")
    assert all(
        one["by"] == {"kind": "Operator", "name": "", "command": ""} for one in told.decisions() if one != promoted
    )


def test_a_gate_that_sent_a_version_back_has_its_numbers(told: Told) -> None:
    sent_back = told.one("RolledBack", told.first)

    assert sent_back["message"].startswith("DivergenceExceeded: ")
    assert "fail" in {check["verdict"] for check in sent_back["checks"] if check["name"] == "output/scores"}
    assert "output scores differs in 100 % (limit 1 %)" in sent_back["message"]
    assert sent_back["candidate"]["requests"] >= 0 and sent_back["stable"]["requests"] > 0
    assert sent_back["before"]["phase"] in ("Shifting", "Holding")
    assert (sent_back["before"]["stable"], sent_back["after"]["stable"]) == (told.second, told.second)
    assert sent_back["after"]["phase"] in ("Returning", "Serving")


def test_history_lists_what_the_log_says(told: Told) -> None:
    listed = json.loads(told.runs("history", "fraud", "--decisions", "-o", "json"))

    assert listed["decisions"] == told.decisions() == course(told.site)
    table = told.runs("history", "fraud", "--decisions")
    assert any("StepPromoted" in line and STRANGER.name in line for line in table.splitlines())


def test_the_report_of_a_cluster_is_the_page_of_a_local_run(told: Told, tmp_path: Path) -> None:
    page, data = tmp_path / "fraud.html", tmp_path / "fraud.json"

    told.runs("report", "fraud", "-o", str(page), "--data", str(data))

    (fraud,) = json.loads(data.read_text())["deployments"]
    assert {one["revision"]: one["outcome"] for one in fraud["versions"]} == {
        told.first: "Rolled back", told.second: "Serving",
    }  # fmt: skip
    assert fraud["phase"] == "Serving"
    weights = [point["versions"].get(told.second, {}).get("weight") for point in fraud["points"]]
    assert {50.0, 100.0} <= set(weights)
    assert sum(point["versions"].get(told.second, {}).get("requests", 0) for point in fraud["points"]) > 0
    assert ("StepPromoted", STRANGER.name) in [(one["reason"], one["by"]) for one in fraud["events"]]
    assert STRANGER.name in page.read_text() and "output scores differs in" in page.read_text()


def test_the_operators_memory_holds_no_course(told: Told) -> None:
    """It carries no label that the watches ask for, and goes with its deployment."""
    found: Any = told.site.plane.client.read("configmaps", told.site.namespace, "fraud-course")

    assert "labels" not in found["metadata"]
    assert [one["name"] for one in found["metadata"]["ownerReferences"]] == ["fraud"]
    assert len(found["data"]["course.jsonl"]) <= 64 * 1024


def rollouts(told: Told) -> list[Seen]:
    """Whole rollouts of this deployment, in the order of time."""
    found = told.collector.named("rollout", 3)
    return sorted((one for one in found if mine(told, one)), key=lambda one: one.begun)


def mine(told: Told, span: Seen) -> bool:
    return bool(span.attributes.get("k8s.namespace.name") == told.site.namespace)


def test_each_rollout_is_a_trace_also_where_the_operator_was_another_one_in_the_end(told: Told) -> None:
    first, second, third = rollouts(told)

    assert [one.attributes["tidegate.outcome"] for one in (first, second, third)] == [
        "Promoted", "Promoted", "DivergenceExceeded",
    ]  # fmt: skip
    assert len({one.trace for one in (first, second, third)}) == 3
    assert [one.failed for one in (first, second, third)] == [False, False, True]
    steps = [(one.name, one.attributes["tidegate.weight"]) for one in told.collector.below(second)]
    assert steps == [("proving", 0), ("shifting", 50), ("holding", 50), ("shifting", 100)]
    assert {one.trace for one in told.collector.below(second)} == {second.trace}
    assert all(second.begun <= one.begun <= one.ended <= second.ended for one in told.collector.below(second))


def test_what_the_analysis_said_is_in_the_step_that_it_ended(told: Told) -> None:
    *_, third = rollouts(told)
    (judged,) = [part for step in told.collector.below(third) for part in told.collector.below(step)][-1:]

    assert judged.name == "analysis"
    assert judged.attributes["tidegate.check.output/scores"].startswith("fail: output scores differs in 100 %")


def test_a_turn_says_what_it_decided_and_about_which_rollout(told: Told) -> None:
    turns = [one for one in told.collector.named("reconcile", 10) if mine(told, one)]

    promoted = [one for one in turns if "StepPromoted" in str(one.attributes["tidegate.decisions"])]
    assert len(promoted) == 1
    assert {one.resource["service.name"] for one in turns} == {"tidegate-operator"}
    assert not any(one.failed for one in turns)
