"""Deployments, autoscalers and budgets, and what of a spec has no effect yet."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidegate.api.scaling import Scaling
from tidegate.plan.load import MEASURES
from tidegate.plan.manifests.drift import differs
from tidegate.plan.manifests.origins import Credentials
from tidegate.plan.manifests.pods import pod_template
from tidegate.plan.manifests.stored import template_hash
from tidegate.plan.manifests.unheeded import not_scaled, unheeded
from tidegate.plan.manifests.workload import autoscaler, budget, deployment

from .parts import OLD, OWNER, PLATFORM, record, runtime_of, spec_of, wanted

SELECTOR = {"serving.tidegate.io/deployment": "fraud", "serving.tidegate.io/revision": OLD}
ALL = {"model": "fraud"}
ITS_OWN = {"model": "fraud", "revision": OLD}
TEMPLATE = pod_template(OWNER, record(), "Require", Credentials(), PLATFORM)


def scaling(**parts: Any) -> Scaling:
    return Scaling.model_validate({"minReplicas": 2, "maxReplicas": 8, **parts})


def test_a_deployment_selects_its_revision_and_says_nothing_of_replicas() -> None:
    made = deployment(OWNER, OLD, TEMPLATE)

    assert made["spec"]["selector"] == {"matchLabels": SELECTOR}
    assert made["spec"]["template"] == TEMPLATE
    assert "replicas" not in made["spec"]


def test_a_deployment_shows_which_template_it_was_given() -> None:
    assert deployment(OWNER, OLD, TEMPLATE)["metadata"]["annotations"] == {
        "serving.tidegate.io/template": template_hash(TEMPLATE)
    }


def test_a_repair_takes_no_ready_pod_away_before_its_successor_is_ready() -> None:
    strategy = deployment(OWNER, OLD, TEMPLATE)["spec"]["strategy"]

    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_an_autoscaler_holds_the_servers_own_cpu_between_the_plans_bounds() -> None:
    made = autoscaler(OWNER, wanted(OLD, 3, 8), scaling(target={"cpuUtilization": 60}))["spec"]

    assert made["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"fraud-{OLD}"}
    assert (made["minReplicas"], made["maxReplicas"]) == (3, 8)
    assert made["metrics"] == [
        {
            "type": "ContainerResource",
            "containerResource": {
                "name": "cpu", "container": "server", "target": {"type": "Utilization", "averageUtilization": 60},
            },
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "metric", "held", "whose"),
    [
        ({"concurrency": 2.5}, "tidegate_concurrency", {"type": "AverageValue", "averageValue": "2500m"}, ALL),
        (
            {"requestsPerSecond": 2000}, "tidegate_requests_per_second",
            {"type": "AverageValue", "averageValue": "2000"}, ALL,
        ),
        ({"queueTime": "20ms"}, "tidegate_queue_seconds", {"type": "Value", "value": "20m"}, ITS_OWN),
        ({"gpuUtilization": 80}, "tidegate_gpu_utilization", {"type": "Value", "value": "80"}, ITS_OWN),
    ],
)  # fmt: skip
def test_what_adds_up_is_held_for_all_requests_and_a_mean_for_the_revisions_own(
    target: dict[str, Any], metric: str, held: dict[str, str], whose: dict[str, str]
) -> None:
    [made] = autoscaler(OWNER, wanted(), scaling(target=target))["spec"]["metrics"]

    asked = {"name": metric, "selector": {"matchLabels": whose}}
    assert made == {"type": "External", "external": {"metric": asked, "target": held}}
    assert metric in MEASURES


def test_an_amount_that_the_server_wrote_otherwise_is_no_drift() -> None:
    made = autoscaler(OWNER, wanted(), scaling(target={"requestsPerSecond": 2000}))
    live = json.loads(json.dumps(made).replace('"2000"', '"2k"'))

    assert not differs(made, live)
    assert differs(made, json.loads(json.dumps(made).replace('"2000"', '"3k"')))


def test_a_pinned_autoscaler_has_one_bound_twice_and_never_none() -> None:
    pinned = autoscaler(OWNER, wanted(OLD, 4, 4), scaling())["spec"]
    empty = autoscaler(OWNER, wanted(OLD, 0, 0), scaling())["spec"]

    assert (pinned["minReplicas"], pinned["maxReplicas"]) == (4, 4)
    assert (empty["minReplicas"], empty["maxReplicas"]) == (1, 1)


def test_behaviour_that_is_not_given_is_kubernetes_own_written_out() -> None:
    made = autoscaler(OWNER, wanted(), scaling())["spec"]["behavior"]

    assert made["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert made["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert all(made[way]["selectPolicy"] == "Max" and made[way]["policies"] for way in ("scaleUp", "scaleDown"))


def test_behaviour_that_is_given_is_handed_on() -> None:
    policy = {"type": "Percent", "value": 10, "periodSeconds": 60}
    given = {"scaleDown": {"stabilizationWindowSeconds": 60, "selectPolicy": "Min", "policies": [policy]}}

    made = autoscaler(OWNER, wanted(), scaling(behavior=given))["spec"]["behavior"]

    assert made["scaleDown"] == given["scaleDown"]
    assert made["scaleUp"]["selectPolicy"] == "Max"


def test_a_budget_lets_one_pod_go_at_a_time_and_those_that_are_not_ready_always() -> None:
    assert budget(OWNER, OLD)["spec"] == {
        "maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": {"matchLabels": SELECTOR},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"routing": {"headers": {"x-model-version": "canary"}}}, "spec.routing"),
        ({"routing": {"existingRouteRef": {"name": "shop"}, "headers": {"x-model": "new"}}}, "routing.headers"),
        ({"scaling": {"minReplicas": 1, "maxReplicas": 2, "provider": "KEDA"}}, "keda.enabled in the operator's chart"),
        ({"scaling": {"keda": {"wake": "up"}}}, "scaling.keda"),
        (
            {"scaling": {"maxReplicas": 2}, "runtime": {"resources": {"requests": {"memory": "1Gi"}}}},
            "runtime.resources.requests.cpu",
        ),
    ],
)
def test_what_has_no_effect_yet_is_said_to_whoever_sets_it(spec: dict[str, Any], said: str) -> None:
    sentences = unheeded(spec_of(**spec), PLATFORM)

    assert len(sentences) == 1
    assert said in sentences[0]


def test_nothing_is_said_of_what_is_heeded() -> None:
    assert unheeded(spec_of(), PLATFORM) == ()
    assert unheeded(spec_of(scaling={"minReplicas": 2, "maxReplicas": 8}), PLATFORM) == ()
    assert unheeded(spec_of(routing={"existingRouteRef": {"name": "shop"}}), PLATFORM) == ()
    parents = {"parentRefs": [{"name": "public"}], "headers": {"x-model": "new"}}
    assert unheeded(spec_of(routing=parents), PLATFORM) == ()


def test_a_limit_of_the_cpu_is_a_request_too() -> None:
    limited = runtime_of(resources={"requests": {"memory": "1Gi"}, "limits": {"cpu": "1", "memory": "2Gi"}})

    assert not_scaled(scaling(), limited, PLATFORM) == ""


def test_one_pod_runs_where_keda_would_run_none() -> None:
    zero = scaling(minReplicas=0, provider="KEDA")

    assert "1 pods run" in not_scaled(zero, runtime_of(), PLATFORM)
