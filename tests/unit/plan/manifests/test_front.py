"""The front Service: whom its selector names, and what it remembers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tidegate.api.status import HistoryEntry, ModelDeploymentStatus, RevisionStatus
from tidegate.plan.manifests.front import front_service, revision_service, routed_by, wanted_front
from tidegate.plan.manifests.identity import DEPLOYMENT, JOB, SERVICE
from tidegate.plan.manifests.pods import GRPC_PORT, HTTP_PORT

from .cluster import Cluster
from .parts import NEW, OLD, OWNER, asked, flags, plan_of, record, runtime_of, serving, wanted

STABLE, ROUTED = "serving.tidegate.io/stable", "serving.tidegate.io/routed"
ONE = {"serving.tidegate.io/deployment": "fraud", "serving.tidegate.io/revision": OLD}
ALL = {"serving.tidegate.io/deployment": "fraud", "app.kubernetes.io/component": "server"}


def test_all_the_weight_of_one_revision_names_it() -> None:
    front = front_service(OWNER, {OLD: 100, NEW: 0}, OLD)

    assert front["spec"]["selector"] == ONE
    assert front["metadata"]["annotations"] == {STABLE: OLD, ROUTED: OLD}


def test_two_revisions_with_weight_share_by_their_ready_pods() -> None:
    front = front_service(OWNER, {NEW: 10, OLD: 90}, OLD)

    assert front["spec"]["selector"] == ALL
    assert front["metadata"]["annotations"][ROUTED] == ",".join(sorted([OLD, NEW]))


def test_a_service_offers_http_and_grpc_and_never_pods_that_are_not_ready() -> None:
    for service in (front_service(OWNER, {OLD: 100}, OLD), revision_service(OWNER, OLD)):
        assert service["spec"]["ports"] == [
            {"name": "http", "port": 8080, "protocol": "TCP", "targetPort": HTTP_PORT, "appProtocol": "http"},
            {
                "name": "grpc",
                "port": 9000,
                "protocol": "TCP",
                "targetPort": GRPC_PORT,
                "appProtocol": "kubernetes.io/h2c",
            },
        ]
        assert "publishNotReadyAddresses" not in service["spec"]


def test_services_of_servers_that_speak_tls_say_so() -> None:
    secured = wanted(record(runtime=runtime_of(tls={"secretRef": {"name": "fraud-tls"}})))
    cluster = Cluster().settle(plan_of(secured, wanted(NEW), weights={OLD: 100}, stable=OLD))

    def spoken(name: str) -> set[str]:
        return {port["appProtocol"] for port in cluster.live(SERVICE, name)["spec"]["ports"]}

    assert spoken("fraud") == spoken(f"fraud-{OLD}") == {"https"}
    assert spoken(f"fraud-{NEW}") == {"http", "kubernetes.io/h2c"}


def test_the_service_of_a_revision_leads_to_it_whatever_the_weights_are() -> None:
    assert revision_service(OWNER, OLD)["spec"]["selector"] == ONE


def test_selectors_find_servers_and_never_the_pod_of_a_job() -> None:
    cluster = Cluster().settle(plan_of(wanted(OLD), wanted(NEW), resolve=asked()))
    template = cluster.live(DEPLOYMENT, f"fraud-{OLD}")["spec"]["template"]
    servers = template["metadata"]["labels"]
    job = cluster.live(JOB, "fraud-fedcba9876-1")["spec"]["template"]["metadata"]["labels"]

    assert ONE.items() <= servers.items()
    assert ALL.items() <= servers.items()
    assert not ALL.items() <= job.items()
    told = flags(template["spec"]["containers"][0]["args"])
    assert (told["http-port"], told["grpc-port"]) == (str(HTTP_PORT), str(GRPC_PORT))


def test_there_is_no_front_before_anything_may_be_routed() -> None:
    assert wanted_front(OWNER, plan_of(wanted(OLD)), None) is None


def test_the_first_version_is_routed_under_its_name_before_it_is_stable() -> None:
    front = wanted_front(OWNER, plan_of(wanted(OLD), weights={OLD: 100}), None)

    assert front is not None
    assert front["metadata"]["annotations"][STABLE] == OLD
    assert wanted_front(OWNER, plan_of(wanted(OLD), weights={OLD: 100}, stable=OLD), front) == front


def test_a_plan_that_does_not_know_the_stable_revision_does_not_forget_it() -> None:
    live = front_service(OWNER, {OLD: 100}, OLD)

    front = wanted_front(OWNER, plan_of(wanted(NEW), weights={NEW: 100}), live)

    assert front is not None
    assert front["metadata"]["annotations"][STABLE] == OLD


FAILED = HistoryEntry(revision=OLD, outcome="RolledBack", at=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "status",
    [
        ModelDeploymentStatus(candidate=RevisionStatus(revision=OLD)),
        ModelDeploymentStatus(history=(FAILED,)),
    ],
    ids=["it is still looked at", "it is history"],
)
def test_a_first_version_that_failed_after_all_gets_nothing_any_more(status: ModelDeploymentStatus) -> None:
    live = front_service(OWNER, {OLD: 100}, OLD)

    front = wanted_front(OWNER, replace(plan_of(wanted(NEW)), status=status), live)

    assert front is not None
    assert front["spec"]["selector"]["app.kubernetes.io/component"] == "none"
    assert front["metadata"]["annotations"][STABLE] == ""
    assert routed_by(front) == set()
    assert wanted_front(OWNER, replace(plan_of(wanted(NEW)), status=status), front) == front


def test_a_version_that_served_stays_routed_when_all_memory_of_it_is_lost() -> None:
    live = front_service(OWNER, {OLD: 100}, OLD)

    assert wanted_front(OWNER, plan_of(wanted(NEW)), live) is None


@pytest.mark.parametrize("weights", [{OLD: 100}, {OLD: 90, NEW: 10}])
def test_what_was_written_is_read_again(weights: dict[str, int]) -> None:
    assert routed_by(front_service(OWNER, weights, OLD)) == set(weights)


def test_another_step_changes_nothing_of_the_front() -> None:
    assert front_service(OWNER, {OLD: 90, NEW: 10}, OLD) == front_service(OWNER, {OLD: 50, NEW: 50}, OLD)


@pytest.mark.parametrize("written", ["", ",", ",,"])
def test_a_front_that_names_nobody_routes_to_nobody(written: str) -> None:
    front = front_service(OWNER, {OLD: 90, NEW: 10}, OLD)
    front["metadata"]["annotations"][ROUTED] = written

    assert routed_by(front) == set()


def test_a_front_that_is_not_there_or_says_nothing_routes_to_nobody() -> None:
    assert routed_by(None) == set()
    assert routed_by({"metadata": {"annotations": None}, "spec": {"selector": None}}) == set()


def test_one_apply_moves_traffic_and_the_stable_name_together() -> None:
    cluster = Cluster().settle(serving(OLD))

    both = plan_of(wanted(OLD), wanted(NEW), weights={OLD: 0, NEW: 100}, stable=NEW)
    cluster.settle(both)

    front = cluster.seen.front
    assert front is not None
    assert front["spec"]["selector"]["serving.tidegate.io/revision"] == NEW
    assert front["metadata"]["annotations"][STABLE] == NEW
