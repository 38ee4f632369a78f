"""Names, labels and owners: what is ours and what is not."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tidegate.api.spec import MAX_NAME
from tidegate.plan.manifests import identity
from tidegate.plan.manifests.identity import (
    CHILD_KINDS,
    JOB,
    MODEL_DEPLOYMENT,
    POD,
    SERVICE,
    Owner,
    access_name,
    child_name,
    job_name,
    kind_of,
    owns,
    revision_of,
)
from tidegate.plan.revision import NAME_LENGTH, resolve_key

from .cluster import Cluster
from .parts import OLD, OWNER, asked, plan_of, serving, spec_of, wanted

NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LONGEST = Owner("payments", "a" * MAX_NAME, "uid")


def everything(owner: Owner) -> list[dict[str, Any]]:
    """One of each child."""
    cluster = Cluster(owner, spec_of(scaling={"minReplicas": 2, "maxReplicas": 5}))
    cluster.settle(serving(OLD, 2, 5))
    cluster.settle(plan_of(wanted(OLD, 2, 5), weights={OLD: 100}, stable=OLD, resolve=asked()))
    return cluster.all()


def test_names_of_children_fit_for_the_longest_name() -> None:
    revision, key = "f" * NAME_LENGTH, resolve_key(spec_of())

    names = [child_name(LONGEST, revision), access_name(LONGEST), job_name(LONGEST, key, 999_999_999)]

    assert max(map(len, names)) <= 63
    assert all(NAME.fullmatch(name) for name in names)


def test_every_child_has_our_labels_and_one_owner_that_never_holds_up_its_deletion() -> None:
    made = everything(OWNER)

    assert {kind_of(obj) for obj in made} == set(CHILD_KINDS)
    for obj in made:
        meta = obj["metadata"]
        assert meta["namespace"] == "payments"
        assert meta["labels"]["app.kubernetes.io/managed-by"] == "tidegate"
        assert meta["labels"]["serving.tidegate.io/deployment"] == "fraud"
        assert meta["labels"].get("serving.tidegate.io/revision", "") == (
            revision_of(OWNER, obj) if OLD in meta["name"] else ""
        )
        assert meta["ownerReferences"] == [
            {
                "apiVersion": "serving.tidegate.io/v1alpha1", "kind": "ModelDeployment", "name": "fraud",
                "uid": "uid-of-fraud", "controller": True, "blockOwnerDeletion": False,
            }
        ]  # fmt: skip


def test_names_of_all_children_fit_for_the_longest_name() -> None:
    assert all(len(obj["metadata"]["name"]) <= 63 for obj in everything(LONGEST))


def test_kinds_are_known_by_group_and_name() -> None:
    assert kind_of({"apiVersion": "batch/v1", "kind": "Job"}) == JOB
    assert kind_of({"apiVersion": "v1", "kind": "Pod"}) == POD
    assert kind_of({"apiVersion": "serving.tidegate.io/v1alpha1", "kind": "ModelDeployment"}) == MODEL_DEPLOYMENT
    assert not {POD, MODEL_DEPLOYMENT} & set(CHILD_KINDS)
    with pytest.raises(KeyError):
        kind_of({"apiVersion": "serving.knative.dev/v1", "kind": SERVICE.kind})


def test_the_names_of_the_api_are_the_ones_users_write() -> None:
    assert (identity.GROUP, identity.VERSION) == ("serving.tidegate.io", "v1alpha1")
    assert (identity.KIND, identity.PLURAL) == ("ModelDeployment", "modeldeployments")
    assert identity.MANAGER == "tidegate"


@pytest.mark.parametrize(
    ("references", "ours"),
    [
        ([{"uid": OWNER.uid, "controller": True}], True),
        ([{"uid": "another", "controller": False}, {"uid": OWNER.uid, "controller": True}], True),
        ([{"uid": OWNER.uid}], False),  # somebody hangs an object of his own on the deployment
        ([{"uid": "another", "controller": True}], False),
        ([], False),
        (None, False),
    ],
)
def test_only_the_controllers_uid_makes_an_object_ours(references: list[dict[str, Any]] | None, ours: bool) -> None:
    assert owns(OWNER, {"metadata": {"name": "fraud", "ownerReferences": references}}) is ours


@pytest.mark.parametrize(
    ("name", "revision"), [("fraud-0123456789", OLD), ("fraud", ""), ("fraudulent-0123456789", ""), ("other", "")]
)
def test_a_childs_name_says_its_revision(name: str, revision: str) -> None:
    assert revision_of(OWNER, {"metadata": {"name": name}}) == revision
