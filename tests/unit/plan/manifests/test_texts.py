"""The text that pods are made from: written once, and never again whatever becomes of the rest."""

from __future__ import annotations

import dataclasses

from tidegate.api.bundle import SecretKeyRef
from tidegate.api.status import ModelDeploymentStatus, ResolutionStatus
from tidegate.plan.manifests.identity import (
    CONTROLLER_REVISION,
    DEPLOYMENT,
)
from tidegate.plan.manifests.origins import Credentials
from tidegate.plan.observed import RevisionRecord

from .cluster import OF_NEW, OF_OLD, Cluster, cluster_of
from .parts import (
    NEW,
    NEWER,
    NOTHING,
    OLD,
    plan_of,
    record,
    serving,
    spec_of,
    wanted,
)


def restarted(base: RevisionRecord, revision: str = NEW, number: int = 2) -> RevisionRecord:
    at = "2026-01-01T00:00:00+00:00"
    return dataclasses.replace(base, revision=revision, number=number, base=base.base, restart=at)


def test_a_new_revision_gets_the_credentials_of_the_spec() -> None:
    cluster = cluster_of(serving(OLD), bundle={"uri": "s3://models/fraud/1", "secretRef": {"name": "s3"}})

    assert cluster.seen.stored[OLD].credentials.store == "s3"
    pods = cluster.live(DEPLOYMENT, OF_OLD)["spec"]["template"]["spec"]
    assert pods["initContainers"][0]["envFrom"] == [{"secretRef": {"name": "s3"}}]


def test_a_restart_has_its_own_template_and_the_credentials_of_what_it_restarts() -> None:
    first = record()
    cluster = cluster_of(serving(first), bundle={"uri": "s3://models/fraud/1", "secretRef": {"name": "first"}})
    cluster.spec = spec_of(bundle={"uri": "s3://models/fraud/2", "secretRef": {"name": "second"}})

    again = wanted(restarted(first))
    cluster.settle(plan_of(wanted(first), again, weights={OLD: 100}, stable=OLD))

    stored = cluster.seen.stored
    assert stored[NEW].credentials.store == "first"
    assert stored[NEW].template != stored[OLD].template
    assert stored[NEW].record.restart


def test_a_restart_of_what_the_spec_names_gets_the_credentials_that_the_spec_names_now() -> None:
    first = record()
    cluster = cluster_of(serving(first), bundle={"uri": "s3://models/fraud/1", "secretRef": {"name": "first"}})
    key = {"decryption": {"keySecretRef": {"name": "new-key", "key": "age.key"}}}
    cluster.spec = spec_of(bundle={"uri": "s3://models/fraud/1", "secretRef": {"name": "second"}, **key})
    plan = plan_of(wanted(first), wanted(restarted(first)), weights={OLD: 100}, stable=OLD)
    read = ModelDeploymentStatus(resolution=ResolutionStatus(revision=OLD))

    cluster.settle(dataclasses.replace(plan, status=read))

    assert cluster.seen.stored[OLD].credentials == Credentials("first")
    assert cluster.seen.stored[NEW].credentials == Credentials("second", SecretKeyRef(name="new-key", key="age.key"))


def test_the_restart_of_a_restart_still_finds_its_credentials() -> None:
    first = record()
    second = restarted(first)
    cluster = cluster_of(serving(first), bundle={"uri": "s3://models/fraud/1", "secretRef": {"name": "first"}})
    cluster.settle(serving(second)).settle(serving(second))
    assert cluster.names(CONTROLLER_REVISION) == [OF_NEW]
    cluster.spec = spec_of(bundle={"uri": "s3://models/fraud/2", "secretRef": {"name": "second"}})

    third = restarted(first, "eeeeeeeeee", 3)
    cluster.settle(plan_of(wanted(second), wanted(third), weights={NEW: 100}, stable=NEW))

    assert cluster.seen.stored["eeeeeeeeee"].credentials.store == "first"


def test_a_restart_of_what_nobody_remembers_uses_the_credentials_of_the_spec() -> None:
    cluster = Cluster(spec=spec_of(bundle={"uri": "s3://models/fraud/1", "secretRef": {"name": "s3"}}))

    cluster.settle(serving(restarted(record())))

    assert cluster.seen.stored[NEW].credentials.store == "s3"


def test_a_record_that_somebody_deleted_is_kept_again_with_what_runs_and_restarts_nothing() -> None:
    cluster = cluster_of(serving(OLD))
    cluster.remove(CONTROLLER_REVISION, OF_OLD)
    before = cluster.live(DEPLOYMENT, OF_OLD)["spec"]["template"]
    cluster.platform = NEWER

    cluster.settle(serving(OLD))

    assert cluster.live(DEPLOYMENT, OF_OLD)["spec"]["template"] == before
    assert cluster.seen.stored[OLD].template == before


def test_a_record_that_cannot_be_read_changes_nothing_of_what_runs() -> None:
    cluster = cluster_of(serving(OLD))
    cluster.live(CONTROLLER_REVISION, OF_OLD)["data"] = {"record": "of the version after the next"}
    before = cluster.live(DEPLOYMENT, OF_OLD)["spec"]["template"]
    cluster.platform = NEWER

    cluster.settle(serving(OLD))

    assert cluster.live(DEPLOYMENT, OF_OLD)["spec"]["template"] == before
    assert cluster.live(CONTROLLER_REVISION, OF_OLD)["data"] == {"record": "of the version after the next"}


def test_a_record_that_cannot_be_read_and_from_which_nothing_runs_is_made_anew() -> None:
    plan = plan_of(wanted(OLD), wanted(NEW, 0, 0), weights={OLD: 100}, stable=OLD)
    cluster = cluster_of(serving(OLD)).settle(plan)
    cluster.live(CONTROLLER_REVISION, OF_NEW)["data"] = {"record": "odd"}

    cluster.settle(plan)

    assert cluster.seen.stored[NEW].record.revision == NEW


def test_what_was_pieced_together_from_the_status_serves_but_is_never_kept() -> None:
    cluster = Cluster()
    pieced = record(interface=NOTHING)

    cluster.settle(serving(pieced))

    assert cluster.names(DEPLOYMENT) == [OF_OLD]
    assert cluster.names(CONTROLLER_REVISION) == []
