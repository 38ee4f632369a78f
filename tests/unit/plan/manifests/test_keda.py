"""ScaledObjects: what KEDA is asked to hold, who counts then, and down to zero."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.api.scaling import Scaling
from tidegate.plan.manifests.identity import AUTOSCALER, DEPLOYMENT, SCALED_OBJECT
from tidegate.plan.manifests.keda import scaled_object
from tidegate.plan.manifests.platform import Platform
from tidegate.plan.manifests.unheeded import not_scaled

from .cluster import OF_NEW, OF_OLD, Cluster, kinds
from .parts import NEW, OLD, OWNER, plan_of, runtime_of, serving, spec_of, wanted

SERVER = "http://prometheus.monitoring:9090"
WITH_KEDA = Platform("registry.example.com/tidegate/runtime:1.0", "", keda={"main": SERVER})
ALL = '{namespace="payments",model="fraud"'
ITS_OWN = f'{ALL},revision="{OLD}"'
ASLEEP: dict[str, Any] = {"minReplicas": 0, "maxReplicas": 3, "provider": "KEDA", "keda": {"wake": "sum(up)"}}


def scaling(**parts: Any) -> Scaling:
    return Scaling.model_validate({"minReplicas": 1, "maxReplicas": 8, "provider": "KEDA", **parts})


def spec(least: int = 1, most: int = 8, **parts: Any) -> dict[str, Any]:
    found: dict[str, Any] = scaled_object(OWNER, wanted(OLD, least, most), scaling(**parts), {"main": SERVER})["spec"]
    return found


def cluster_of(**parts: Any) -> Cluster:
    cluster = Cluster(spec=spec_of(scaling=parts))
    cluster.platform = WITH_KEDA
    return cluster


@pytest.mark.parametrize(
    ("target", "kind", "threshold", "query"),
    [
        (
            {"concurrency": 2.5}, "AverageValue", "2.5",
            f'sum(rate(tidegate_request_duration_seconds_sum{ALL},traffic!="synthetic"}}[1m]))',
        ),
        ({"requestsPerSecond": 200}, "AverageValue", "200", f"sum(rate(tidegate_requests_total{ALL}}}[1m]))"),
        (
            {"queueTime": "20ms"}, "Value", "0.02",
            f"sum(rate(tidegate_queue_duration_seconds_sum{ITS_OWN}}}[1m])) / "
            f"(sum(rate(tidegate_queue_duration_seconds_count{ITS_OWN}}}[1m])) > 0) or vector(0)",
        ),
        ({"gpuUtilization": 80}, "Value", "80", f"100 * avg(tidegate_gpu_utilization{ITS_OWN}}})"),
    ],
)  # fmt: skip
def test_what_servers_count_is_asked_of_prometheus(
    target: dict[str, Any], kind: str, threshold: str, query: str
) -> None:
    asked = {"serverAddress": SERVER, "query": query, "threshold": threshold}

    assert spec(target=target)["triggers"] == [{"type": "prometheus", "metricType": kind, "metadata": asked}]


def test_the_servers_own_cpu_needs_no_prometheus() -> None:
    assert spec(target={"cpuUtilization": 60}, keda={"prometheus": "other"})["triggers"] == [
        {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60", "containerName": "server"}}
    ]


def test_what_wakes_the_first_server_asks_for_no_second_one() -> None:
    _, wake = spec(keda={"wake": "sum(up)"})["triggers"]

    assert (wake["metricType"], wake["metadata"]["query"]) == ("AverageValue", "sum(up)")
    assert float(wake["metadata"]["threshold"]) >= 1e9


def test_its_bounds_are_the_plans() -> None:
    made = [spec(least, most) for least, most in ((0, 3), (2, 8), (4, 4))]

    assert [(one["minReplicaCount"], one["maxReplicaCount"]) for one in made] == [(0, 3), (2, 8), (4, 4)]


def test_the_last_server_is_left_to_keda() -> None:
    cluster = cluster_of(**ASLEEP).settle(serving(OLD, 0, 3))
    cluster.live(DEPLOYMENT, OF_OLD)["spec"]["replicas"] = 0

    assert cluster.carry_out(serving(OLD, 0, 3)) == []
    assert cluster.live(SCALED_OBJECT, OF_OLD)["spec"]["minReplicaCount"] == 0


def test_a_rollout_wakes_the_stable_version_and_pins_it() -> None:
    cluster = cluster_of(**ASLEEP).settle(serving(OLD, 0, 3))
    cluster.live(DEPLOYMENT, OF_OLD)["spec"]["replicas"] = 0

    cluster.settle(plan_of(wanted(OLD, 1, 1), wanted(NEW, 1), weights={OLD: 100}, stable=OLD))

    pinned = cluster.live(SCALED_OBJECT, OF_OLD)["spec"]
    assert (pinned["minReplicaCount"], pinned["maxReplicaCount"]) == (1, 1)
    assert cluster.live(DEPLOYMENT, OF_OLD)["spec"]["replicas"] == 1
    assert cluster.names(SCALED_OBJECT) == [OF_OLD]
    cluster.settle(serving(NEW, 0, 3))
    assert cluster.names(SCALED_OBJECT) == [OF_NEW]


def test_one_autoscaler_goes_before_the_other_one_comes() -> None:
    cluster = cluster_of(minReplicas=1, maxReplicas=8).settle(serving(OLD, 1, 8))

    cluster.spec = spec_of(scaling={"minReplicas": 1, "maxReplicas": 8, "provider": "KEDA"})
    there = kinds(cluster.carry_out(serving(OLD, 1, 8)))
    cluster.spec = spec_of(scaling={"minReplicas": 1, "maxReplicas": 8})
    back = kinds(cluster.carry_out(serving(OLD, 1, 8)))

    assert there == [f"Delete {AUTOSCALER.kind} {OF_OLD}", f"Create {SCALED_OBJECT.kind} {OF_OLD}"]
    assert back == [f"Delete {SCALED_OBJECT.kind} {OF_OLD}", f"Create {AUTOSCALER.kind} {OF_OLD}"]


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"minReplicas": 0}, "scaling.minReplicas: 0 needs scaling.keda.wake"),
        ({"target": {"concurrency": 4}, "keda": {"prometheus": "far"}}, "know no server far"),
        ({"keda": {"prometheus": "far", "wake": "sum(up)"}}, "know no server far"),
    ],
)
def test_what_keda_cannot_scale_by_is_told_with_what_runs_instead(parts: dict[str, Any], says: str) -> None:
    told = not_scaled(scaling(**parts), runtime_of(), WITH_KEDA)

    assert says in told
    assert told.endswith("1 pods run")


def test_nothing_is_said_of_what_keda_scales_by() -> None:
    assert not_scaled(scaling(**ASLEEP), runtime_of(), WITH_KEDA) == ""
    assert not_scaled(scaling(target={"concurrency": 4}), runtime_of(), WITH_KEDA) == ""
