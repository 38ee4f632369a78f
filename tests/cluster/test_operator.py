"""The operator on a real API server, with real model servers in the pods: from a manifest to a canary and back."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.clients import Clients, ask
from tests.cluster.operating import QUICK, Operator, Site, condition, ready, serves, weight
from tests.control_plane.plane import Plane
from tests.control_plane.users import OPERATOR
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
MANUAL = {"steps": [{"weight": 50, "hold": "manual"}]}
KINDS = (
    "deployments",
    "services",
    "horizontalpodautoscalers",
    "poddisruptionbudgets",
    "controllerrevisions",
    "configmaps",
    "networkpolicies",
)


@pytest.fixture
def site(mounted: Site) -> Site:
    return mounted


def test_a_manifest_becomes_a_serving_model(operator: Operator, site: Site) -> None:
    site.apply("v1")

    found = site.until_serving("v1")

    assert found["status"]["url"] == f"http://fraud.{site.namespace}.svc:8080/v2/models/fraud"
    assert found["status"]["phase"] == "Serving"
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    assert condition(found, "Reconciling") == ""
    assert [ask(address) for address in site.endpoints()] == ["v1"]
    assert "finalizers" not in found["metadata"]
    assert "annotations" not in found["metadata"]


REPLACE = {"surge": "Replace", "steps": [{"weight": 50, "hold": "1s"}], "scaleDownDelay": "0s"}


def readers(site: Site) -> list[str]:
    """What the containers of Jobs were told to do."""
    return [job["spec"]["template"]["spec"]["containers"][0]["args"][0] for job in site.children("jobs")]


def test_where_servers_are_replaced_the_bundle_is_proved_before_the_first_one_goes(
    operator: Operator, site: Site
) -> None:
    site.apply("v1", scaling={"minReplicas": 2}, rollout=REPLACE)
    site.until_serving("v1")
    mark = site.plane.audit.mark()

    site.apply("v2", scaling={"minReplicas": 2}, rollout=REPLACE)
    site.until_serving("v2")

    assert set(readers(site)) == {"prove"}
    asked = [
        (one.verb, one.resource)
        for one in site.plane.audit.writes(mark, user=OPERATOR.name)
        if one.namespace == site.namespace and one.resource in ("jobs", "deployments", "deployments/scale")
    ]
    assert asked[0] == ("create", "jobs")
    wait_until(lambda: len(site.servers()) == 2, "the old servers go")
    assert sorted(ask(address) for address in site.endpoints()) == ["v2", "v2"]


def test_a_bundle_that_was_only_read_is_proved_when_servers_are_to_be_replaced_for_it(
    operator: Operator, site: Site
) -> None:
    two = {"minReplicas": 2}
    site.apply("v1", scaling=two)
    site.until_serving("v1")
    site.apply("v2", scaling=two, paused=True)
    candidate = site.until(lambda one: weight(one) == 0)["status"]["candidate"]["revision"]
    site.command("abort", f"{candidate}@2026-01-01T00:00:00Z")
    site.until_reason("Stalled", "Aborted")
    assert set(readers(site)) == {"resolve"}

    site.apply("v2", scaling=two, rollout=REPLACE)
    site.command("retry", f"{candidate}@2026-01-01T00:00:01Z")
    site.until_serving("v2")

    assert "prove" in readers(site)


def test_where_servers_are_replaced_a_bundle_that_fails_its_proof_stops_none(operator: Operator, site: Site) -> None:
    site.apply("v1", rollout={**REPLACE, "allowDowntime": True})
    site.until_serving("v1")
    servers = [pod["metadata"]["uid"] for pod in site.servers()]

    site.apply("v3", rollout={**REPLACE, "allowDowntime": True})
    found = site.until_reason("Stalled", "GoldenMismatch")

    assert found["status"]["rejected"][-1]["class"] == "Content"
    assert [pod["metadata"]["uid"] for pod in site.servers()] == servers
    assert [ask(address) for address in site.endpoints()] == ["v1"]


def test_a_changed_manifest_is_a_measured_canary(operator: Operator, site: Site) -> None:
    site.apply("v1", scaling={"minReplicas": 2})
    site.until_serving("v1")
    with Clients(site) as clients:
        clients.more(5, "v1")
        measured = {"steps": [{"weight": 50, "hold": "1s"}], "analysis": {**QUICK, "minRequests": 40}}
        site.apply("v2", scaling={"minReplicas": 2}, rollout=measured)
        site.until(lambda one: weight(one) == 50)
        wait_until(lambda: len(site.endpoints()) == 4, "the route follows the status, which is written first")
        clients.more(20, "v2")
        done = site.until_serving("v2")
        assert clients.answers["v2"] >= 40, "only the pods' own counters can have told of so many"
        clients.more(10, "v2")  # those that were on their way have come back
        before = clients.answers["v1"]
        clients.more(20, "v2")

    assert clients.failures == []
    assert clients.answers["v1"] == before
    assert [entry["outcome"] for entry in done["status"]["history"]] == ["Promoted", "Promoted"]
    wait_until(lambda: len(site.servers()) == 2, "the old servers go")
    assert [one["metadata"]["labels"]["serving.tidegate.io/revision"] for one in site.children("deployments")] == [
        done["status"]["stable"]["revision"]
    ]
    assert {"RolloutStarted", "WeightRaised", "Promoted"} <= set(site.events())


def test_a_version_that_fails_its_golden_samples_never_gets_a_request(operator: Operator, site: Site) -> None:
    site.apply("v1")
    site.until_serving("v1")
    with Clients(site) as clients:
        site.apply("v3")
        found = site.until_reason("Stalled", "GoldenMismatch")
        clients.more(10, "v1")

    assert serves(found, "v1")
    assert found["status"]["rejected"][0]["class"] == "Content"
    assert set(clients.answers) == {"v1"}
    assert clients.failures == []
    wait_until(lambda: len(site.servers()) == 1, "the refused servers go")


def test_a_person_sends_a_candidate_back(operator: Operator, site: Site) -> None:
    site.apply("v1")
    site.until_serving("v1")
    site.apply("v2", rollout=MANUAL)
    held = site.until(lambda one: weight(one) == 50)

    site.command("abort", f"{held['status']['candidate']['revision']}@2026-01-01T00:00:00Z")
    found = site.until_reason("Stalled", "Aborted")

    assert serves(found, "v1")
    wait_until(lambda: len(site.servers()) == 1, "the candidate goes")
    assert site.front()["spec"]["selector"]["serving.tidegate.io/revision"] == found["status"]["stable"]["revision"]


def test_at_rest_nothing_is_written_not_even_by_a_new_operator(
    operator: Operator, site: Site, control_plane: Plane
) -> None:
    site.apply("v1", scaling={"minReplicas": 2, "maxReplicas": 4})
    site.until_serving("v1")
    wait_until(lambda: all(map(ready, site.servers())), "all servers are ready")
    operator.until(lambda: "tidegate_queue_depth 0.0" in operator.page("/metrics"), "nothing waits")
    figures_are_written(site)
    mark = control_plane.audit.mark()

    assert operator.stop() == 0
    operator.log.unlink()
    operator.start().leads()
    operator.until(lambda: operator.reconciles() > 0, "it has looked at everything")
    seen = operator.reconciles()
    site.plane.client.patch("modeldeployments", site.namespace, "fraud", {"metadata": {"labels": {"touched": "1"}}})
    operator.until(lambda: operator.reconciles() > seen, "it has looked again")

    assert control_plane.audit.writes(mark, user=OPERATOR.name, namespace=site.namespace) == []


def figures_are_written(site: Site) -> None:
    """The status shows the servers as they are, what was decided is kept, and the autoscaler, which gets no figures here,
    is known to be blind: nothing is left that waits for a minute."""
    site.until(lambda one: one["status"]["stable"].get("readyReplicas") == len(site.servers()), 90)
    site.plane.client.until("configmaps", site.namespace, "fraud-course", bool, 90)
    site.until_reason("Degraded", "LoadUnknown", 90)


def test_deletion_needs_no_operator_and_leaves_nothing(operator: Operator, site: Site, control_plane: Plane) -> None:
    site.apply("v1", scaling={"minReplicas": 2, "maxReplicas": 4})
    site.until_serving("v1")
    assert operator.stop() == 0
    try:
        control_plane.client.delete("modeldeployments", site.namespace, "fraud")

        for plural in (*KINDS, "pods", "jobs"):
            wait_until(lambda: not site.children(plural), f"no {plural} are left", 60)  # noqa: B023
    finally:
        operator.start().leads()


@pytest.mark.parametrize("plural", KINDS)
def test_a_child_that_somebody_deletes_is_made_again(operator: Operator, site: Site, plural: str) -> None:
    site.apply("v1", scaling={"minReplicas": 2, "maxReplicas": 4})
    site.until_serving("v1")

    def uids() -> dict[str, str]:
        return {one["metadata"]["name"]: one["metadata"]["uid"] for one in site.children(plural)}

    before = wait_until(uids, f"there are {plural}")  # the status, which is written first, may be ahead of them

    for name in before:
        site.plane.client.delete(plural, site.namespace, name)

    def again() -> bool:
        now = uids()
        return set(now) == set(before) and not set(now.values()) & set(before.values())

    wait_until(again, f"{plural} are back")
    site.until_serving("v1")


EDITS: dict[str, tuple[str, dict[str, Any]]] = {
    "the front leads nowhere": ("services", {"spec": {"selector": {"serving.tidegate.io/revision": "gone"}}}),
    "another grace period": ("deployments", {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}),
    "scaled to nothing": ("deployments", {"spec": {"replicas": 0}}),
    "labels gone": ("deployments", {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}),
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_somebody_edits_is_put_back(operator: Operator, site: Site, edit: str) -> None:
    site.apply("v1")
    stable = site.until_serving("v1")["status"]["stable"]["revision"]
    plural, change = EDITS[edit]
    name = "fraud" if plural == "services" else f"fraud-{stable}"
    before = site.plane.client.read(plural, site.namespace, name)

    site.plane.client.patch(plural, site.namespace, name, change)

    def is_back(now: dict[str, Any]) -> bool:
        return bool(now["metadata"]["labels"] == before["metadata"]["labels"] and now["spec"] == before["spec"])

    site.plane.client.until(plural, site.namespace, name, is_back)
    site.until_serving("v1")
