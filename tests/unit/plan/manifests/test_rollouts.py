"""Whole rollouts, carried out on a cluster of dicts: what never happens to the objects on the way."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.plan.conftest import Story

from tidegate.plan.manifests.children import Apply, Create, Delete, Effect, Scale
from tidegate.plan.manifests.front import routed_by
from tidegate.plan.manifests.identity import CONTROLLER_REVISION, DEPLOYMENT, SERVICE
from tidegate.plan.wanted import Plan

from .cluster import Cluster, kinds
from .parts import NEWER
from .pod_security import objections


class Watched(Story):
    """A story whose every plan is carried out on objects, and checked there."""

    def __init__(self, version: str = "v1", **spec: Any) -> None:
        super().__init__(version, **spec)
        self.cluster = Cluster(spec=self.world.spec)
        self.templates: dict[str, object] = {}

    def turn(self) -> Plan:
        plan = super().turn()
        self.cluster.spec = self.world.spec
        before = self.routed()
        self.order(self.cluster.carry_out(plan), before)
        self.cluster.settle(plan)
        self.check(plan)
        return plan

    def routed(self) -> set[str]:
        return set(routed_by(self.cluster.seen.front))

    def order(self, done: list[Effect], before: set[str]) -> None:
        """What had traffic is not touched before the front has moved, and not removed in the same turn."""
        gone = {one.name for one in done if isinstance(one, Delete) and one.kind == DEPLOYMENT}
        assert not gone & {f"fraud-{name}" for name in before}
        moved = next((place for place, text in enumerate(kinds(done)) if text == "Apply Service fraud"), None)
        counts = {name: one["spec"]["replicas"] for name, one in self.cluster.seen.deployments.items()}
        for place, one in enumerate(done):
            if isinstance(one, Scale) and moved is not None and place < moved:
                assert one.replicas == counts[one.name.removeprefix("fraud-")]

    def check(self, plan: Plan) -> None:
        assert self.cluster.carry_out(plan) == []
        deployments = self.cluster.seen.deployments
        assert len(deployments) <= 2
        assert self.routed() <= set(deployments)
        assert self.routed() == {name for name, weight in plan.weights.items() if weight}
        for name, one in deployments.items():
            assert one["spec"]["replicas"] >= 1 or name in self.emptied(plan)
            assert self.templates.setdefault(name, one["spec"]["template"]) == one["spec"]["template"]
            assert objections(one["spec"]["template"]) == []
        assert set(deployments) <= set(self.cluster.seen.stored) <= plan.keep | set(deployments) | self.planned(plan)

    def emptied(self, plan: Plan) -> set[str]:
        return {wanted.record.revision for wanted in plan.revisions if not wanted.max_replicas}

    def planned(self, plan: Plan) -> set[str]:
        return {wanted.record.revision for wanted in plan.revisions}


def test_a_rollout_makes_two_deployments_and_leaves_one() -> None:
    story = Watched("v1", steps=[10, 50]).serving("v1")
    assert isinstance(story, Watched)

    story.apply("v2").runs("20m")

    assert story.stable == "v2"
    assert story.cluster.names(DEPLOYMENT) == [f"fraud-{story.revision('v2')}"]
    assert story.cluster.names(SERVICE) == ["fraud", f"fraud-{story.revision('v2')}"]
    assert len(story.cluster.names(CONTROLLER_REVISION)) == 2


def test_a_rollback_ends_where_it_began() -> None:
    story = Watched("v1", steps=[10, 50]).serving("v1").servers_of("v2", errors=1.0)
    assert isinstance(story, Watched)

    story.apply("v2").runs("20m")

    assert story.stable == "v1"
    assert story.cluster.names(DEPLOYMENT) == [f"fraud-{story.revision('v1')}"]


def test_a_third_version_in_the_middle_takes_the_place_of_the_second() -> None:
    story = Watched("v1", steps=[10, 50]).serving("v1").apply("v2").until_weight(10)
    assert isinstance(story, Watched)

    story.apply("v3").runs("20m")

    assert story.stable == "v3"
    assert story.cluster.names(DEPLOYMENT) == [f"fraud-{story.revision('v3')}"]


def test_a_restart_rolls_out_the_same_bundle_in_pods_of_its_own() -> None:
    story = Watched("v1", steps=[50]).serving("v1").command("restart", "v1")
    assert isinstance(story, Watched)
    first = story.world.status.stable

    story.runs("20m")

    last = story.world.status.stable
    assert first is not None and last is not None
    assert (first.digest, first.revision) != (last.digest, last.revision)
    assert story.cluster.names(DEPLOYMENT) == [f"fraud-{last.revision}"]


def test_an_operator_that_is_replaced_in_the_middle_restarts_nothing() -> None:
    story = Watched("v1", steps=[10, 50], scaling={"minReplicas": 2, "maxReplicas": 4}).serving("v1")
    assert isinstance(story, Watched)
    story.apply("v2").until_weight(10)
    story.cluster.writes.clear()

    story.cluster.platform = NEWER
    story.settle()

    assert [one for one in story.cluster.writes if isinstance(one, Create | Apply | Delete)] == []
    story.runs("20m")
    assert story.stable == "v2"


@pytest.mark.parametrize("scaling", [{}, {"minReplicas": 1, "maxReplicas": 3}])
def test_the_only_server_makes_room_and_its_deployment_stays_until_nobody_asks_it(scaling: dict[str, int]) -> None:
    alone = {"surge": "Replace", "allowDowntime": True, "scaleDownDelay": "0s"}
    story = Watched("v1", steps=[], rollout=alone, scaling=scaling).serving("v1")
    assert isinstance(story, Watched)
    old = f"fraud-{story.revision('v1')}"
    story.fails("v2", "Unschedulable", "Environment").apply("v2").settle()
    assert story.cluster.live(DEPLOYMENT, old)["spec"]["replicas"] == 0

    story.until(lambda story: story.truth("Stalled") == ("True", "Unschedulable")).settle()
    assert story.weights == {"v1": 100}
    assert story.cluster.live(DEPLOYMENT, old)["spec"]["replicas"] == 1

    story.servers_of("v2", failure=None).until(lambda story: story.stable == "v2").runs("1m")
    assert story.cluster.names(DEPLOYMENT) == [f"fraud-{story.revision('v2')}"]


@pytest.mark.parametrize("surge", ["Surge", "Replace"])
def test_the_number_of_pods_follows_the_plan_however_room_is_made(surge: str) -> None:
    story = Watched("v1", steps=[50], rollout={"surge": surge}, scaling={"minReplicas": 4}).serving("v1")
    assert isinstance(story, Watched)

    story.apply("v2").runs("20m")

    assert story.stable == "v2"
    last = story.cluster.live(DEPLOYMENT, f"fraud-{story.revision('v2')}")
    assert last["spec"]["replicas"] == 4
