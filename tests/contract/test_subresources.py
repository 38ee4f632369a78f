"""Generation, status and scale, each of which leaves the others alone: on a real API server and on the fake.

A test that fails on one side only shows where the fake lies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.control_plane.plane import Plane
from tests.fakes.fields import Object
from tests.fakes.samples import (
    config,
    create,
    deployment,
    generation,
    job,
    live,
    model,
    named,
    pod,
    put_status,
    refused,
    version,
)
from tests.fakes.sides import SIDES, Side, side_of

from tidegate.cluster.errors import (
    Conflict,
    NotFound,
    Refused,
)
from tidegate.plan.manifests.identity import (
    AUTOSCALER,
    BUDGET,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    MODEL_DEPLOYMENT,
    SERVICE,
)


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest, api_server: Plane) -> Side:
    return side_of(request.param, api_server)


def test_a_new_deployment_says_that_nobody_has_looked_at_it(side: Side) -> None:
    # Without this kstatus, which compares two generations only where both are there, would call it Current.
    create(side, model(side))

    assert live(side, MODEL_DEPLOYMENT, "fraud")["status"] == NOT_SEEN


def test_generation_counts_changes_of_the_spec_only(side: Side) -> None:
    create(side, model(side))

    def edited(change: Callable[[Object], object]) -> int:
        return generation(side.others.edit(MODEL_DEPLOYMENT, side.namespace, "fraud", change))

    assert edited(lambda obj: obj["metadata"].update(annotations={"a": "b"}, labels={"c": "d"})) == 1
    assert edited(lambda obj: obj["spec"].update(paused=True)) == 2
    assert edited(lambda obj: obj["spec"].update(paused=True)) == 2
    assert generation(put_status(side, live(side, MODEL_DEPLOYMENT, "fraud"), phase="Ready")) == 2


def test_generation_of_a_workload_counts_its_annotations_too(side: Side) -> None:
    create(side, deployment(side))

    def edited(change: Callable[[Object], object]) -> int:
        return generation(side.others.edit(DEPLOYMENT, side.namespace, "web", change))

    assert edited(lambda obj: obj["metadata"].update(labels={"c": "d"})) == 1
    assert edited(lambda obj: obj["metadata"].update(annotations={"a": "b"})) == 2
    assert edited(lambda obj: obj["spec"].update(minReadySeconds=3)) == 3


def counted(side: Side) -> list[Object]:
    """One of each kind that could have a generation."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    return [
        deployment(side),
        job(side),
        pod(side, "alone"),
        model(side),
        config(side),
        {**named(SERVICE, "web", side), "spec": {"selector": {"a": "1"}, "ports": [{"port": 80}]}},
        {**named(AUTOSCALER, "web", side), "spec": {"scaleTargetRef": target, "maxReplicas": 3}},
        {**named(BUDGET, "web", side), "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"a": "1"}}}},
        {**named(CONTROLLER_REVISION, "web", side), "revision": 1, "data": {"a": {"b": []}}},
    ]


def test_kinds_begin_with_the_same_generation_and_status(side: Side) -> None:
    shown = {obj["kind"]: create(side, obj) for obj in counted(side)}

    assert {kind for kind, obj in shown.items() if obj["metadata"].get("generation") == 1} == GENERATIONS
    assert {kind: obj["status"] for kind, obj in shown.items() if "status" in obj} == STATUSES


GENERATIONS = {"Deployment", "Job", "Pod", "ModelDeployment", "PodDisruptionBudget"}
NOT_SEEN = {"observedGeneration": 0}
STATUSES: dict[str, Any] = {
    "ModelDeployment": NOT_SEEN,
    "Deployment": {},
    "Job": {},
    "Pod": {"phase": "Pending", "qosClass": "BestEffort"},
    "Service": {"loadBalancer": {}},
    "HorizontalPodAutoscaler": {"currentMetrics": None, "desiredReplicas": 0},
    "PodDisruptionBudget": {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0},
}


def test_a_status_in_a_create_or_an_edit_is_passed_over(side: Side) -> None:
    made = create(side, {**model(side), "status": {"phase": "Ready"}})
    assert made["status"] == NOT_SEEN

    put_status(side, made, phase="Ready")
    edited = side.others.edit(
        MODEL_DEPLOYMENT,
        side.namespace,
        "fraud",
        lambda obj: obj.update(status={"phase": "x"}, spec=model(side)["spec"]),
    )

    assert edited["status"] == {"phase": "Ready"}


def test_a_write_of_the_status_leaves_spec_and_metadata_alone(side: Side) -> None:
    made = create(side, model(side))

    odd = {**made, "spec": {"bundle": {"uri": "s3://other/1"}}, "metadata": {**made["metadata"], "labels": {"a": "b"}}}
    answer = put_status(side, odd, phase="Ready")

    assert answer["spec"] == made["spec"]
    assert "labels" not in answer["metadata"]
    assert answer["status"] == {"phase": "Ready"}


def test_a_status_replaces_the_one_before_as_a_whole(side: Side) -> None:
    first = put_status(side, create(side, model(side)), phase="Ready", url="http://a")

    assert put_status(side, first, phase="Progressing")["status"] == {"phase": "Progressing"}


def test_a_status_keeps_what_the_schema_knows_and_nothing_else(side: Side) -> None:
    answer = put_status(
        side, create(side, model(side)), phase="Ready", ofANewerVersion=1, stable={"revision": "a", "b": 1}
    )

    assert answer["status"] == {"phase": "Ready", "stable": {"revision": "a"}}


def test_a_status_beyond_its_bounds_is_refused(side: Side) -> None:
    made = create(side, model(side))

    refused(side, Refused, lambda api: api.put_status({**made, "status": {"phase": "x" * 33}}))


def test_a_status_planned_on_an_old_version_is_a_conflict(side: Side) -> None:
    made = create(side, model(side))
    side.others.edit(MODEL_DEPLOYMENT, side.namespace, "fraud", lambda obj: obj["spec"].update(paused=True))

    refused(side, Conflict, lambda api: api.put_status({**made, "status": {"phase": "Ready"}}))

    assert live(side, MODEL_DEPLOYMENT, "fraud")["status"] == NOT_SEEN


def test_a_status_of_what_is_gone_or_made_anew_is_not_written(side: Side) -> None:
    made = create(side, model(side))
    side.others.delete(MODEL_DEPLOYMENT, side.namespace, "fraud")
    refused(side, NotFound, lambda api: api.put_status({**made, "status": {"phase": "Ready"}}))

    create(side, model(side))

    refused(side, Conflict, lambda api: api.put_status({**made, "status": {"phase": "Ready"}}))


def test_the_same_status_again_is_no_new_version(side: Side) -> None:
    first = put_status(side, create(side, model(side)), phase="Ready")

    assert version(put_status(side, first, phase="Ready")) == version(first)


def test_defaults_of_the_schema_are_stored(side: Side) -> None:
    made = create(side, model(side, scaling={"minReplicas": 2}))

    assert made["spec"]["scaling"]["minReplicas"] == 2
    assert made["spec"]["rollout"]["steps"][0]["weight"] == 10
    assert made["spec"]["runtime"]["device"] == "cpu"


def test_scale_writes_the_count_and_nothing_else(side: Side) -> None:
    made = create(side, deployment(side, replicas=1))

    side.ask(lambda api: api.scale(DEPLOYMENT, side.namespace, "web", 4))

    now = live(side, DEPLOYMENT, "web")
    assert now["spec"] == {**made["spec"], "replicas": 4}
    assert generation(now) == 2
    refused(side, NotFound, lambda api: api.scale(DEPLOYMENT, side.namespace, "nothing", 1))
    refused(side, Refused, lambda api: api.scale(DEPLOYMENT, side.namespace, "web", -1))
