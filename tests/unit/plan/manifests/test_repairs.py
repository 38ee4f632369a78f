"""What people do to objects, and what is done about it."""

from __future__ import annotations

import pytest

from tidegate.plan.manifests.identity import (
    AUTOSCALER,
    BUDGET,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    NETWORK_POLICY,
    SERVICE,
    Kind,
)

from .cluster import OF_OLD, cluster_of, kinds
from .parts import (
    OLD,
    plan_of,
    serving,
    wanted,
)


def test_an_image_that_somebody_changed_is_changed_back() -> None:
    cluster = cluster_of(serving(OLD))
    cluster.live(DEPLOYMENT, OF_OLD)["spec"]["template"]["spec"]["containers"][0]["image"] = "other"

    assert kinds(cluster.carry_out(serving(OLD))) == [f"Apply Deployment {OF_OLD}"]
    assert cluster.carry_out(serving(OLD)) == []


def edited(kind: Kind, name: str, path: str, value: object) -> tuple[Kind, str, str, object]:
    return kind, name, path, value


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        edited(SERVICE, "fraud", "spec.selector", {"app": "mine"}),
        edited(SERVICE, "fraud", "metadata.annotations", {}),
        edited(SERVICE, "fraud", "metadata.labels", {}),
        edited(SERVICE, OF_OLD, "spec.selector", {"serving.tidegate.io/deployment": "fraud"}),
        edited(DEPLOYMENT, OF_OLD, "metadata.annotations", {}),
        edited(DEPLOYMENT, OF_OLD, "spec.template.spec.terminationGracePeriodSeconds", 1),
        edited(AUTOSCALER, OF_OLD, "spec.maxReplicas", 100),
        edited(BUDGET, OF_OLD, "spec.maxUnavailable", 5),
        edited(CONFIG_MAP, "fraud-access", "data", {}),
        edited(NETWORK_POLICY, "fraud-network", "metadata.labels", {}),
        edited(CONTROLLER_REVISION, OF_OLD, "metadata.labels", {}),
    ],
)
def test_what_somebody_edits_is_mended_by_one_apply(kind: Kind, name: str, path: str, value: object) -> None:
    cluster = cluster_of(serving(OLD, 2, 8))
    *parents, last = path.split(".")
    part = cluster.live(kind, name)
    for step in parents:
        part = part[step]
    part[last] = value

    assert kinds(cluster.carry_out(serving(OLD, 2, 8))) == [f"Apply {kind.kind} {name}"]
    assert cluster.carry_out(serving(OLD, 2, 8)) == []


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (SERVICE, "fraud"), (SERVICE, OF_OLD), (DEPLOYMENT, OF_OLD), (AUTOSCALER, OF_OLD), (BUDGET, OF_OLD),
        (CONFIG_MAP, "fraud-access"), (CONTROLLER_REVISION, OF_OLD), (NETWORK_POLICY, "fraud-network"),
    ],
)  # fmt: skip
def test_what_somebody_deletes_is_created_and_never_applied(kind: Kind, name: str) -> None:
    cluster = cluster_of(serving(OLD, 2, 8))
    cluster.remove(kind, name)

    assert kinds(cluster.carry_out(serving(OLD, 2, 8)))[0] == f"Create {kind.kind} {name}"
    assert cluster.settle(serving(OLD, 2, 8)).names(kind)


def test_what_an_apply_cannot_mend_is_made_anew() -> None:
    cluster = cluster_of(serving(OLD, 2, 8))
    cluster.live(SERVICE, OF_OLD)["spec"]["ports"] = [{"name": "http", "port": 81, "protocol": "TCP"}]
    budget = cluster.live(BUDGET, OF_OLD)["spec"]
    budget["minAvailable"] = budget.pop("maxUnavailable")

    assert kinds(cluster.carry_out(serving(OLD, 2, 8))) == [
        f"Delete Service {OF_OLD}",
        f"Delete PodDisruptionBudget {OF_OLD}",
    ]
    assert kinds(cluster.carry_out(serving(OLD, 2, 8))) == [
        f"Create Service {OF_OLD}",
        f"Create PodDisruptionBudget {OF_OLD}",
    ]


@pytest.mark.parametrize(
    ("kind", "name"), [(SERVICE, "fraud"), (DEPLOYMENT, OF_OLD), (AUTOSCALER, OF_OLD), (CONTROLLER_REVISION, OF_OLD)]
)
def test_what_is_being_removed_is_left_alone_until_it_is_gone(kind: Kind, name: str) -> None:
    cluster = cluster_of(serving(OLD, 2, 8))
    leaving = cluster.live(kind, name)
    leaving["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "labels": {}}
    leaving.get("spec", {}).pop("replicas", None)

    assert cluster.carry_out(serving(OLD, 2, 8)) == []


def test_what_is_being_removed_is_not_removed_again() -> None:
    cluster = cluster_of(plan_of(wanted(OLD)))
    for kind in (DEPLOYMENT, SERVICE):
        cluster.live(kind, OF_OLD)["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"

    assert cluster.carry_out(plan_of()) == []
