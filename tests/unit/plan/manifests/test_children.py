"""From a plan and what is there to what has to be done: nothing, or what is made, in which order."""

from __future__ import annotations

import json

import pytest

from tidegate.api.runtime import Runtime
from tidegate.plan.manifests.children import Apply, Create
from tidegate.plan.manifests.identity import (
    CONFIG_MAP,
    DEPLOYMENT,
)
from tidegate.plan.manifests.platform import Platform
from tidegate.plan.wanted import Plan

from .cluster import OF_NEW, OF_OLD, SCALED, Cluster, cluster_of, kinds
from .parts import (
    CANARY,
    NEW,
    NEWER,
    OLD,
    PLATFORM,
    asked,
    plan_of,
    record,
    serving,
    spec_of,
    wanted,
)

# -- nothing


@pytest.mark.parametrize(
    "plan",
    [
        plan_of(resolve=asked()),
        plan_of(wanted(OLD, 2)),
        serving(OLD, 2, 8),
        CANARY,
        plan_of(wanted(OLD, 2, 2), wanted(NEW, 2, 8), weights={OLD: 0, NEW: 100}, stable=NEW),
        plan_of(wanted(OLD, 2, 8), wanted(NEW, 0, 0), weights={OLD: 100}, stable=OLD),
    ],
)
def test_where_everything_is_as_it_should_be_nothing_is_done(plan: Plan) -> None:
    cluster = cluster_of(plan)

    assert kinds(cluster.carry_out(plan)) == []


def test_another_image_of_the_platform_touches_nothing_that_is_there() -> None:
    cluster = cluster_of(CANARY)

    found = cluster.effects(CANARY, NEWER)

    assert (found.records, found.changes) == ((), ())


def test_a_new_revision_is_made_with_the_newer_platform() -> None:
    cluster = cluster_of(serving(OLD, 2, 8))
    cluster.platform = NEWER

    cluster.settle(CANARY)

    images = {
        name: cluster.live(DEPLOYMENT, name)["spec"]["template"]["spec"]["containers"][0]["image"]
        for name in (OF_OLD, OF_NEW)
    }
    assert images == {OF_OLD: PLATFORM.runtime_image, OF_NEW: NEWER.runtime_image}


def test_another_golden_mode_or_secret_of_the_spec_touches_nothing_that_is_there() -> None:
    cluster = cluster_of(serving(OLD), bundle={"uri": "s3://models/fraud/1"})
    cluster.spec = spec_of(bundle={"uri": "s3://models/fraud/1", "secretRef": {"name": "other"}})

    again = plan_of(wanted(OLD, golden="Skip"), weights={OLD: 100}, stable=OLD)

    assert cluster.carry_out(again) == []


# -- what is made, and in which order


def test_a_record_is_kept_before_the_status_and_everything_else_comes_after_it() -> None:
    found = Cluster(spec=SCALED).effects(serving(OLD, 2, 8))

    assert kinds(found.records) == [f"Create ControllerRevision {OF_OLD}"]
    assert kinds(found.changes) == [
        "Create NetworkPolicy fraud-network",
        "Create ConfigMap fraud-access",
        f"Create Deployment {OF_OLD}",
        f"Create Service {OF_OLD}",
        f"Create PodDisruptionBudget {OF_OLD}",
        f"Create HorizontalPodAutoscaler {OF_OLD}",
        "Create Service fraud",
    ]


def test_traffic_moves_between_scaling_up_and_scaling_down_and_removal_comes_after_that() -> None:
    cluster = cluster_of(CANARY)
    spare = record("ffffffffff")
    cluster.settle(plan_of(wanted(OLD, 4, 4), wanted(NEW, 1), wanted(spare), weights={OLD: 90, NEW: 10}, stable=OLD))

    new = plan_of(
        wanted(OLD, 1), wanted(NEW, 3, 8), weights={OLD: 0, NEW: 100}, stable=NEW, keep=frozenset(), resolve=asked()
    )

    assert kinds(cluster.carry_out(new)) == [
        f"Delete HorizontalPodAutoscaler {OF_OLD}",
        f"Create PodDisruptionBudget {OF_NEW}",
        f"Create HorizontalPodAutoscaler {OF_NEW}",
        "Apply Service fraud",
        f"Scale Deployment {OF_OLD}",
        "Delete Deployment fraud-ffffffffff",
        "Delete Service fraud-ffffffffff",
        f"Delete PodDisruptionBudget {OF_OLD}",
        "Create Job fraud-fedcba9876-1",
    ]
    # The record goes when what was made of it is gone.
    assert kinds(cluster.carry_out(new)) == ["Delete ControllerRevision fraud-ffffffffff"]


def test_scaling_up_comes_before_the_front() -> None:
    cluster = cluster_of(CANARY)

    more = plan_of(wanted(OLD, 2, 8), wanted(NEW, 2), weights={OLD: 0, NEW: 100}, stable=OLD)

    assert kinds(cluster.carry_out(more)) == [f"Scale Deployment {OF_NEW}", "Apply Service fraud"]


def test_replicas_are_in_the_create_call_only() -> None:
    cluster = Cluster(spec=SCALED)

    made = cluster.carry_out(plan_of(wanted(OLD, 3)))
    cluster.live(DEPLOYMENT, OF_OLD)["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    mended = cluster.carry_out(plan_of(wanted(OLD, 3)))

    created = next(one.obj for one in made if isinstance(one, Create) and one.obj["kind"] == "Deployment")
    applied = next(one.obj for one in mended if isinstance(one, Apply))
    assert created["spec"]["replicas"] == 3
    assert "replicas" not in applied["spec"]


def test_one_job_is_made_for_one_question_and_another_for_the_next_attempt() -> None:
    cluster = cluster_of(plan_of(resolve=asked(attempt=1)))

    assert cluster.carry_out(plan_of(resolve=asked(attempt=1))) == []
    assert kinds(cluster.carry_out(plan_of(resolve=asked(attempt=2)))) == ["Create Job fraud-fedcba9876-2"]


def test_without_callers_there_is_no_map_of_access() -> None:
    cluster = Cluster()
    cluster.platform = Platform(PLATFORM.runtime_image)
    cluster.settle(serving(OLD))

    assert cluster.names(CONFIG_MAP) == []


def test_servers_of_both_versions_may_show_each_other_requests_and_nobody_else_may() -> None:
    account = Runtime.model_validate({"pod": {"serviceAccountName": "scorer"}})
    cluster = cluster_of(plan_of(wanted(record(OLD)), wanted(record(NEW, runtime=account)), stable=OLD))

    told = json.loads(cluster.live(CONFIG_MAP, "fraud-access")["data"]["access.json"])

    accounts = ["system:serviceaccount:payments:default", "system:serviceaccount:payments:scorer"]
    assert told["subjects"] == {"compare": accounts}


def test_the_map_of_access_follows_the_platform_and_goes_with_it() -> None:
    cluster = cluster_of(serving(OLD))
    cluster.platform = Platform(PLATFORM.runtime_image, '{"issuer":"another"}')
    assert kinds(cluster.carry_out(serving(OLD))) == ["Apply ConfigMap fraud-access"]
    assert json.loads(cluster.live(CONFIG_MAP, "fraud-access")["data"]["access.json"])["issuer"] == "another"

    cluster.platform = Platform(PLATFORM.runtime_image, None)  # an operator that starts and does not know yet
    assert kinds(cluster.carry_out(serving(OLD))) == []

    cluster.platform = Platform(PLATFORM.runtime_image)
    assert kinds(cluster.carry_out(serving(OLD))) == ["Delete ConfigMap fraud-access"]
