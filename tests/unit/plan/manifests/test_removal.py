"""What goes, when it goes, and what is never touched."""

from __future__ import annotations

from tidegate.plan.manifests.children import Apply, Delete
from tidegate.plan.manifests.identity import (
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    JOB,
    SERVICE,
    Owner,
)
from tidegate.plan.manifests.seen import Seen, foreign, seen_of

from .cluster import OF_NEW, OF_OLD, SCALED, Cluster, cluster_of, kinds
from .parts import (
    CANARY,
    NEW,
    OLD,
    OWNER,
    asked,
    plan_of,
    serving,
    wanted,
)

# -- what goes


def test_a_revision_whose_servers_are_to_stop_keeps_its_record() -> None:
    cluster = cluster_of(CANARY)

    cluster.settle(plan_of(wanted(OLD, 2, 8), wanted(NEW, 0, 0), weights={OLD: 100}, stable=OLD))

    assert cluster.names(DEPLOYMENT) == [OF_OLD]
    assert cluster.names(SERVICE) == ["fraud", OF_OLD]
    assert cluster.names(CONTROLLER_REVISION) == [OF_OLD, OF_NEW]


def test_a_record_in_keep_stays_without_servers() -> None:
    cluster = cluster_of(CANARY)

    cluster.settle(plan_of(wanted(NEW), weights={NEW: 100}, stable=NEW, keep=frozenset({OLD, NEW})))

    assert cluster.names(DEPLOYMENT) == [OF_NEW]
    assert cluster.names(CONTROLLER_REVISION) == [OF_OLD, OF_NEW]


def test_a_record_that_nobody_keeps_goes_after_its_deployment() -> None:
    cluster = cluster_of(CANARY)
    new = plan_of(wanted(NEW), weights={NEW: 100}, stable=NEW)

    turns = [kinds(cluster.carry_out(new)) for _ in range(4)]

    gone = [turn for turn in turns if any("Delete" in text for text in turn)]
    assert f"Delete Deployment {OF_OLD}" in gone[-2]
    assert gone[-1] == [f"Delete ControllerRevision {OF_OLD}"]
    assert turns[-1] == []


def test_what_the_front_was_seen_to_route_to_goes_a_turn_after_the_front_has_moved() -> None:
    cluster = cluster_of(serving(OLD))
    new = plan_of(wanted(NEW), weights={NEW: 100}, stable=NEW)

    assert "Apply Service fraud" in kinds(cluster.carry_out(new))
    assert OF_OLD in cluster.names(DEPLOYMENT)
    assert f"Delete Deployment {OF_OLD}" in kinds(cluster.carry_out(new))


def test_servers_of_a_version_that_everybody_forgot_serve_until_the_next_has_weight() -> None:
    cluster = cluster_of(serving(OLD))
    cluster.remove(CONTROLLER_REVISION, OF_OLD)

    cluster.settle(plan_of(wanted(NEW)))
    assert cluster.names(DEPLOYMENT) == [OF_OLD, OF_NEW]

    cluster.settle(serving(NEW))
    assert cluster.names(DEPLOYMENT) == [OF_NEW]


def test_every_deletion_names_the_uid_that_was_seen() -> None:
    cluster = cluster_of(plan_of(wanted(OLD, 2, 8), wanted(NEW), weights={OLD: 100}, stable=OLD))
    uid = cluster.live(DEPLOYMENT, OF_NEW)["metadata"]["uid"]

    assert Delete(DEPLOYMENT, "payments", OF_NEW, uid) in cluster.carry_out(serving(OLD, 2, 8))


# -- what is not ours


def test_objects_of_others_are_not_even_seen() -> None:
    cluster = cluster_of(serving(OLD, 2, 8))
    earlier = Cluster(Owner("payments", "fraud", "an-earlier-uid"), SCALED).settle(CANARY)

    seen = seen_of(OWNER, [*cluster.all(), *earlier.all()])

    assert seen == cluster.seen
    assert seen_of(OWNER, earlier.all()) == Seen()


def test_a_stranger_of_our_name_is_met_by_a_create_and_neither_applied_nor_deleted() -> None:
    cluster = Cluster(spec=SCALED)
    for kind, name in ((SERVICE, "fraud"), (DEPLOYMENT, OF_OLD)):
        cluster.put({"apiVersion": kind.api_version, "kind": kind.kind,
                     "metadata": {"name": name, "namespace": "payments"}})  # fmt: skip

    made = cluster.effects(serving(OLD, 2, 8)).changes
    gone = cluster.effects(plan_of()).changes

    assert {"Create Service fraud", f"Create Deployment {OF_OLD}"} <= set(kinds(made))
    assert not [one for one in (*made, *gone) if isinstance(one, Delete | Apply)]


def test_an_object_of_ours_under_a_name_that_is_not_stays() -> None:
    cluster = cluster_of(serving(OLD))
    reference = cluster.owner.reference
    for kind in (SERVICE, CONFIG_MAP, DEPLOYMENT):
        cluster.put({"apiVersion": kind.api_version, "kind": kind.kind,
                     "metadata": {"name": "mine", "namespace": "payments", "ownerReferences": [reference]}})  # fmt: skip

    assert cluster.carry_out(serving(OLD)) == []


def test_what_is_left_of_a_deployment_that_had_our_name_is_named() -> None:
    cluster = cluster_of(serving(OLD))
    earlier = Cluster(Owner("payments", "fraud", "an-earlier-uid")).settle(serving(OLD))
    others = Cluster(Owner("payments", "churn", "uid-of-churn")).settle(serving(OLD))
    orphan = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "x", "labels": {"serving.tidegate.io/deployment": "fraud"}},
    }
    bare = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "y"}}

    found = foreign(OWNER, [*cluster.all(), *earlier.all(), *others.all(), orphan, bare])

    assert found == earlier.all()


def test_jobs_that_are_there_are_seen_by_name() -> None:
    cluster = cluster_of(plan_of(resolve=asked()))

    assert list(cluster.seen.jobs) == ["fraud-fedcba9876-1"] == cluster.names(JOB)
