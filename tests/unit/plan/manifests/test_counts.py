"""How many pods run and who counts them; whom a budget holds back."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.plan.manifests.children import Scale
from tidegate.plan.manifests.identity import (
    AUTOSCALER,
    BUDGET,
    DEPLOYMENT,
)

from .cluster import OF_NEW, OF_OLD, cluster_of, kinds
from .parts import (
    CANARY,
    NEW,
    OLD,
    plan_of,
    record,
    runtime_of,
    serving,
    spec_of,
    wanted,
)


def test_somebody_scales_a_deployment_and_it_is_scaled_back_where_no_autoscaler_counts() -> None:
    cluster = cluster_of(CANARY)
    cluster.live(DEPLOYMENT, OF_NEW)["spec"]["replicas"] = 0

    assert cluster.carry_out(CANARY) == [Scale(DEPLOYMENT, "payments", OF_NEW, 1)]


def test_the_number_of_pods_is_the_autoscalers_where_there_is_one() -> None:
    cluster = cluster_of(serving(OLD, 2, 8))
    cluster.live(DEPLOYMENT, OF_OLD)["spec"]["replicas"] = 5

    assert cluster.carry_out(serving(OLD, 2, 8)) == []


def test_a_deployment_at_zero_is_woken_because_its_autoscaler_will_not() -> None:
    cluster = cluster_of(serving(OLD, 2, 8))
    cluster.live(DEPLOYMENT, OF_OLD)["spec"]["replicas"] = 0

    assert cluster.carry_out(serving(OLD, 2, 8)) == [Scale(DEPLOYMENT, "payments", OF_OLD, 2)]


def test_a_deployment_that_does_not_say_its_replicas_has_one() -> None:
    cluster = cluster_of(CANARY)
    del cluster.live(DEPLOYMENT, OF_NEW)["spec"]["replicas"]

    assert cluster.carry_out(CANARY) == []


def test_only_the_stable_revision_has_an_autoscaler_and_a_budget() -> None:
    cluster = cluster_of(CANARY)

    assert cluster.names(AUTOSCALER) == [OF_OLD]
    assert cluster.names(BUDGET) == [OF_OLD]


def test_an_autoscaler_goes_before_the_pods_it_counted_are_counted_by_us() -> None:
    cluster = cluster_of(CANARY)
    cluster.live(DEPLOYMENT, OF_OLD)["spec"]["replicas"] = 1

    watching = plan_of(wanted(OLD, 2), wanted(NEW, 2, 8), weights={NEW: 100, OLD: 0}, stable=NEW)

    done = kinds(cluster.carry_out(watching))
    assert done.index(f"Delete HorizontalPodAutoscaler {OF_OLD}") < done.index(f"Scale Deployment {OF_OLD}")
    assert cluster.names(AUTOSCALER) == [OF_NEW]
    assert cluster.names(BUDGET) == [OF_NEW]


def test_while_steps_run_the_autoscaler_is_pinned() -> None:
    cluster = cluster_of(serving(OLD, 2, 8))

    cluster.settle(plan_of(wanted(OLD, 5, 5), wanted(NEW, 1), weights={OLD: 100}, stable=OLD))

    bounds = cluster.live(AUTOSCALER, OF_OLD)["spec"]
    assert (bounds["minReplicas"], bounds["maxReplicas"]) == (5, 5)


@pytest.mark.parametrize(
    "spec",
    [
        {"scaling": {"minReplicas": 2, "maxReplicas": 2}},
        {"scaling": {"minReplicas": 2}},
        {"scaling": {"minReplicas": 2, "maxReplicas": 8, "provider": "KEDA"}},
    ],
)
def test_without_something_that_can_count_the_minimum_runs(spec: dict[str, Any]) -> None:
    cluster = cluster_of(serving(OLD, 2, 8))
    cluster.live(DEPLOYMENT, OF_OLD)["spec"]["replicas"] = 6
    cluster.spec = spec_of(**spec)

    assert kinds(cluster.carry_out(serving(OLD, 2, 8))) == [
        f"Delete HorizontalPodAutoscaler {OF_OLD}",
        f"Scale Deployment {OF_OLD}",
    ]
    assert cluster.live(DEPLOYMENT, OF_OLD)["spec"]["replicas"] == 2


def test_the_cpu_that_counts_is_that_of_the_revision_and_not_of_the_spec() -> None:
    unmeasured = record(runtime=runtime_of(resources={"requests": {"memory": "1Gi"}}))

    assert cluster_of(serving(unmeasured, 2, 8)).names(AUTOSCALER) == []


def test_one_pod_runs_where_the_minimum_is_zero_and_nobody_can_wake_it() -> None:
    cluster = cluster_of(
        serving(OLD, 0, 3), scaling={"minReplicas": 0, "maxReplicas": 3, "provider": "KEDA"}
    )  # fmt: skip

    assert cluster.live(DEPLOYMENT, OF_OLD)["spec"]["replicas"] == 1


def test_a_budget_goes_when_one_pod_is_enough() -> None:
    cluster = cluster_of(serving(OLD, 2, 8))
    cluster.spec = spec_of(scaling={"minReplicas": 1, "maxReplicas": 8})

    cluster.settle(serving(OLD, 1, 8))

    assert cluster.names(BUDGET) == []
