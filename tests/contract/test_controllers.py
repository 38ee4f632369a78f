"""What happens by itself after our writes: by real controllers on simulated nodes, and by their stand-ins."""

from __future__ import annotations

from typing import Any

import pytest
from tests.control_plane import fixtures
from tests.control_plane.plane import Plane
from tests.fakes.fields import Object
from tests.fakes.samples import NOBODY, apply, config, create, deployment, job, live, model
from tests.fakes.sides import SIDES, Side, side_of

from tidegate.plan.manifests.identity import CONFIG_MAP, DEPLOYMENT, JOB, MODEL_DEPLOYMENT, POD, Kind, Owner, kind_of

control_plane = fixtures.control_plane


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest, control_plane: Plane) -> Side:
    return side_of(request.param, control_plane)


def owned(obj: Object, *owners: Object) -> Object:
    """The object, held by these; the first is its controller."""
    references = []
    for number, one in enumerate(owners):
        owner = Owner(one["metadata"]["namespace"], one["metadata"]["name"], one["metadata"]["uid"])
        references.append({**owner.reference, "controller": number == 0})
    return {**obj, "metadata": {**obj["metadata"], "ownerReferences": references}}


def is_gone(side: Side, kind: Kind, name: str) -> bool:
    return side.ask(lambda api: api.get(kind, side.namespace, name)) is None


def pods(side: Side) -> list[Object]:
    return side.ask(lambda api: api.list(POD, side.namespace, ""))


# -- garbage collection -----------------------------------------------------------------------------


def test_children_go_with_their_deployment_and_pods_with_them(side: Side) -> None:
    owner = create(side, model(side))
    create(side, owned(config(side), owner))
    create(side, owned({**deployment(side), "spec": {**deployment(side)["spec"], "replicas": 2}}, owner))
    create(side, owned(job(side), owner))
    side.until(lambda: len(pods(side)) == 3, "pods of the Deployment and of the Job")

    side.others.delete(MODEL_DEPLOYMENT, side.namespace, "fraud")

    side.until(lambda: is_gone(side, CONFIG_MAP, "settings"), "the ConfigMap is gone")
    side.until(lambda: is_gone(side, DEPLOYMENT, "web") and is_gone(side, JOB, "resolve"), "the workloads are gone")
    side.until(lambda: not pods(side), "the pods are gone")


def test_a_child_of_nobody_that_exists_is_collected(side: Side) -> None:
    stranger = model(side)
    stranger["metadata"]["uid"] = NOBODY

    create(side, owned(config(side), stranger))

    side.until(lambda: is_gone(side, CONFIG_MAP, "settings"), "the ConfigMap is gone")


def test_a_child_of_two_stays_with_the_other_one(side: Side) -> None:
    first, second = create(side, model(side)), create(side, model(side, "other"))
    create(side, owned(config(side), first, second))

    side.others.delete(MODEL_DEPLOYMENT, side.namespace, "fraud")

    def uids() -> list[str]:
        return [one["uid"] for one in live(side, CONFIG_MAP, "settings")["metadata"]["ownerReferences"]]

    side.until(lambda: uids() == [second["metadata"]["uid"]], "only the living owner is named")


def test_orphans_stay_and_name_no_owner(side: Side) -> None:
    create(side, owned(config(side), create(side, model(side))))

    side.others.delete(MODEL_DEPLOYMENT, side.namespace, "fraud", "orphan")

    side.until(lambda: is_gone(side, MODEL_DEPLOYMENT, "fraud"), "the deployment is gone")
    assert "ownerReferences" not in live(side, CONFIG_MAP, "settings")["metadata"]


def test_a_foreground_deletion_takes_the_children_and_ends(side: Side) -> None:
    create(side, owned(config(side), create(side, model(side))))

    side.others.delete(MODEL_DEPLOYMENT, side.namespace, "fraud", "foreground")

    side.until(lambda: is_gone(side, MODEL_DEPLOYMENT, "fraud"), "the deployment is gone")
    side.until(lambda: is_gone(side, CONFIG_MAP, "settings"), "the ConfigMap is gone")


@pytest.mark.parametrize("make", [deployment, job])
def test_our_delete_of_a_workload_takes_its_pods(side: Side, make: Any) -> None:
    made = create(side, make(side))
    side.until(lambda: len(pods(side)) == 1, "a pod")

    about = made["metadata"]
    side.ask(lambda api: api.delete(kind_of(made), side.namespace, about["name"], about["uid"]))

    side.until(lambda: not pods(side), "the pods are gone")


# -- workloads ----------------------------------------------------------------------------------------


def test_a_deployment_that_runs_says_so_in_the_same_words(side: Side) -> None:
    create(side, {**deployment(side), "spec": {**deployment(side)["spec"], "replicas": 2}})

    def ready() -> bool:
        status = live(side, DEPLOYMENT, "web")["status"]
        return status.get("readyReplicas") == 2 and conditions(status).get("Progressing") == RAN_THROUGH

    side.until(ready, "two pods are ready")

    status = live(side, DEPLOYMENT, "web")["status"]
    assert {name: value for name, value in status.items() if name != "conditions"} == RUNNING
    assert conditions(status) == {"Available": ("True", "MinimumReplicasAvailable"), "Progressing": RAN_THROUGH}
    assert all(container_state(pod) == "running" for pod in pods(side))


RAN_THROUGH = ("True", "NewReplicaSetAvailable")
RUNNING = {
    "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
    "terminatingReplicas": 0,
}  # fmt: skip


def conditions(status: Object) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in status.get("conditions", [])}


def container_state(pod: Object) -> str:
    (state,) = pod["status"]["containerStatuses"][0]["state"]
    return str(state)


def test_a_changed_template_rolls_without_a_gap(side: Side) -> None:
    wanted = deployment(side, strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
    create(side, {**wanted, "spec": {**wanted["spec"], "replicas": 2}})
    side.until(lambda: len(ready_pods(side)) == 2, "two pods are ready")
    before = {pod["metadata"]["uid"] for pod in pods(side)}

    wanted["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example/server:2"
    apply(side, wanted)

    def replaced() -> bool:
        assert len(ready_pods(side)) >= 2
        return len(pods(side)) == 2 and not before & {pod["metadata"]["uid"] for pod in pods(side)}

    side.until(replaced, "two new pods")
    assert {pod["spec"]["containers"][0]["image"] for pod in pods(side)} == {"registry.example/server:2"}


def ready_pods(side: Side) -> list[Object]:
    return [pod for pod in pods(side) if is_ready(pod)]


def is_ready(pod: Object) -> bool:
    return ("Ready", "True") in {(one["type"], one["status"]) for one in pod["status"].get("conditions", [])}


def test_a_scaled_down_deployment_has_no_pods(side: Side) -> None:
    create(side, deployment(side))
    side.until(lambda: len(ready_pods(side)) == 1, "a pod is ready")

    side.ask(lambda api: api.scale(DEPLOYMENT, side.namespace, "web", 0))

    side.until(lambda: not pods(side), "no pod")
    side.until(lambda: "replicas" not in live(side, DEPLOYMENT, "web")["status"], "none is counted")
