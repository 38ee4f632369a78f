"""What our client does to a real API server, and how it tells that server's answers apart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.cluster.connecting import config_map, deployment, model_deployment, told
from tests.control_plane.plane import Plane
from tests.control_plane.users import STRANGER, User

from tidegate.cluster import kube as kube_module
from tidegate.cluster.errors import (
    AlreadyExists,
    ClusterError,
    Conflict,
    Forbidden,
    NamespaceTerminating,
    NotFound,
    QuotaExceeded,
    Refused,
    Unauthorized,
)
from tidegate.cluster.events import event_object
from tidegate.cluster.kube import Kube
from tidegate.plan.manifests.identity import CONFIG_MAP, DEPLOYMENT, JOB, LABEL_DEPLOYMENT, MANAGER, MODEL_DEPLOYMENT
from tidegate.plan.wanted import Event

Object = dict[str, Any]
NAME = "fraud-access"


def refused(plane: Plane, story: Callable[[Kube], Awaitable[Any]], user: User | None = None) -> ClusterError:
    with pytest.raises(ClusterError) as raised:
        told(plane, story, *([user] if user else []))
    return raised.value


def test_an_object_is_made_read_and_deleted(control_plane: Plane, namespace: str) -> None:
    async def story(kube: Kube) -> None:
        made = await kube.create(config_map(namespace))
        assert await kube.get(CONFIG_MAP, namespace, NAME) == made
        await kube.delete(CONFIG_MAP, namespace, NAME, made["metadata"]["uid"])
        assert await kube.get(CONFIG_MAP, namespace, NAME) is None
        await kube.delete(CONFIG_MAP, namespace, NAME, made["metadata"]["uid"])

    told(control_plane, story)


def test_what_is_made_is_made_in_our_name(control_plane: Plane, namespace: str) -> None:
    made = told(control_plane, lambda kube: kube.create(config_map(namespace)))

    assert {entry["manager"] for entry in made["metadata"]["managedFields"]} == {MANAGER}


def test_a_name_that_is_taken_is_told(control_plane: Plane, namespace: str) -> None:
    control_plane.client.create(config_map(namespace))

    assert type(refused(control_plane, lambda kube: kube.create(config_map(namespace)))) is AlreadyExists


def test_a_successor_survives_the_deletion_of_its_predecessor(control_plane: Plane, namespace: str) -> None:
    control_plane.client.create(config_map(namespace))
    told(control_plane, lambda kube: kube.delete(CONFIG_MAP, namespace, NAME, "11111111-2222-3333-4444-555555555555"))

    assert control_plane.client.get("configmaps", namespace, NAME)


def test_the_same_applied_twice_changes_nothing(control_plane: Plane, namespace: str) -> None:
    async def story(kube: Kube) -> tuple[str, str]:
        first = await kube.apply(deployment(namespace))
        second = await kube.apply(deployment(namespace))
        return first["metadata"]["generation"], second["metadata"]["generation"]

    first, second = told(control_plane, story)

    assert first == second


def test_an_apply_takes_over_what_somebody_else_has_changed(control_plane: Plane, namespace: str) -> None:
    told(control_plane, lambda kube: kube.create(config_map(namespace)))
    control_plane.client.patch("configmaps", namespace, NAME, {"data": {"a": "2"}})

    assert told(control_plane, lambda kube: kube.apply(config_map(namespace)))["data"] == {"a": "1"}


def test_an_apply_with_the_uid_of_what_is_gone_makes_nothing(control_plane: Plane, namespace: str) -> None:
    """Without it the server would make the object anew, from knowledge that is out of date."""
    uid = control_plane.client.create(config_map(namespace))["metadata"]["uid"]
    control_plane.client.delete("configmaps", namespace, NAME)
    wanted = config_map(namespace)
    wanted["metadata"]["uid"] = uid

    assert type(refused(control_plane, lambda kube: kube.apply(wanted))) is Conflict
    assert control_plane.client.get("configmaps", namespace, NAME) is None


def test_an_apply_with_the_uid_of_a_predecessor_changes_nothing(control_plane: Plane, namespace: str) -> None:
    old = control_plane.client.create(config_map(namespace))["metadata"]["uid"]
    control_plane.client.delete("configmaps", namespace, NAME)
    control_plane.client.create(config_map(namespace, a="theirs"))
    wanted = config_map(namespace, a="ours")
    wanted["metadata"]["uid"] = old

    assert type(refused(control_plane, lambda kube: kube.apply(wanted))) is Conflict
    assert control_plane.client.read("configmaps", namespace, NAME)["data"] == {"a": "theirs"}


def test_a_count_is_written_and_an_apply_without_one_leaves_it(control_plane: Plane, namespace: str) -> None:
    async def story(kube: Kube) -> list[int]:
        counts = [(await kube.create(deployment(namespace, replicas=1)))["spec"]["replicas"]]
        await kube.scale(DEPLOYMENT, namespace, "fraud-abc", 3)
        counts.append((await kube.apply(deployment(namespace)))["spec"]["replicas"])
        await kube.scale(DEPLOYMENT, namespace, "fraud-abc", 0)
        counts.append((await kube.apply(deployment(namespace, minReadySeconds=1)))["spec"]["replicas"])
        return counts

    assert told(control_plane, story) == [1, 3, 0]


def test_a_status_is_written_by_version(control_plane: Plane, namespace: str) -> None:
    async def story(kube: Kube) -> tuple[Object, Object]:
        made = await kube.create(model_deployment(namespace))
        written = await kube.put_status({**made, "status": {"phase": "Serving"}})
        with pytest.raises(Conflict):
            await kube.put_status({**made, "status": {"phase": "Failed"}})
        return made, written

    made, written = told(control_plane, story)

    assert written["status"] == {"phase": "Serving"}
    assert written["spec"] == made["spec"]
    assert written["metadata"]["generation"] == made["metadata"]["generation"]


def test_a_status_of_a_predecessor_is_not_written(control_plane: Plane, namespace: str) -> None:
    async def story(kube: Kube) -> None:
        old = await kube.create(model_deployment(namespace))
        await kube.delete(MODEL_DEPLOYMENT, namespace, "fraud", old["metadata"]["uid"])
        with pytest.raises(NotFound):
            await kube.put_status({**old, "status": {"phase": "Serving"}})
        await kube.create(model_deployment(namespace))
        with pytest.raises(Conflict):
            await kube.put_status({**old, "status": {"phase": "Serving"}})

    told(control_plane, story)


def test_lists_are_read_by_label_and_in_pages(
    control_plane: Plane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_module, "PAGE", 2)
    for number in range(5):
        control_plane.client.create(config_map(namespace, f"c{number}"))

    found = told(control_plane, lambda kube: kube.list(CONFIG_MAP, namespace, f"{LABEL_DEPLOYMENT}=fraud"))

    assert [one["metadata"]["name"] for one in found] == ["c0", "c1", "c2", "c3", "c4"]
    assert {one["kind"] for one in found} == {"ConfigMap"}
    assert told(control_plane, lambda kube: kube.list(CONFIG_MAP, namespace, f"{LABEL_DEPLOYMENT}=other")) == []


def test_a_deleted_job_takes_its_pods_along(control_plane: Plane, namespace: str) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "registry.example/none"}]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": namespace, "name": "j"},
           "spec": {"template": {"spec": pod}, "suspend": True}}  # fmt: skip

    async def story(kube: Kube) -> None:
        made = await kube.create(job)
        await kube.delete(JOB, namespace, "j", made["metadata"]["uid"])

    told(control_plane, story)

    control_plane.client.until_gone("jobs", namespace, "j")


def test_an_event_of_ours_is_taken(control_plane: Plane, namespace: str) -> None:
    made = control_plane.client.create(model_deployment(namespace))
    event = event_object(made, Event("Normal", "Promoted", "version 2 serves", "abc"), "pod-1")
    told(control_plane, lambda kube: kube.create_event(event))

    events = control_plane.client.request("GET", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events")
    [found] = events["items"]

    assert (found["reason"], found["note"], found["regarding"]["uid"]) == (
        "Promoted", "version 2 serves", made["metadata"]["uid"],
    )  # fmt: skip


# -- errors


def test_a_missing_right_is_told_from_everything_else(control_plane: Plane, namespace: str) -> None:
    error = refused(control_plane, lambda kube: kube.create(config_map(namespace)), STRANGER)

    assert type(error) is Forbidden
    assert 'User "stranger" cannot create resource "configmaps"' in str(error)


def test_unknown_credentials_are_told(control_plane: Plane, namespace: str) -> None:
    nobody = User("nobody-knows")

    assert type(refused(control_plane, lambda kube: kube.get(CONFIG_MAP, namespace, "a"), nobody)) is Unauthorized


def test_an_object_that_makes_no_sense_is_refused(control_plane: Plane, namespace: str) -> None:
    error = refused(control_plane, lambda kube: kube.create(deployment(namespace, replicas=-1)))

    assert type(error) is Refused
    assert "spec.replicas" in str(error)


def test_a_rule_of_the_cluster_is_a_refusal_and_no_missing_right(control_plane: Plane, namespace: str) -> None:
    group = "admissionregistration.k8s.io"
    match = {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                                "resources": ["configmaps"]}]}  # fmt: skip
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    policy = {"apiVersion": f"{group}/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": namespace},
              "spec": {"failurePolicy": "Fail", "matchConstraints": {**match, **selector},
                       "validations": [{"expression": "false", "message": "not here"}]}}  # fmt: skip
    binding = {"apiVersion": f"{group}/v1", "kind": "ValidatingAdmissionPolicyBinding",
               "metadata": {"name": namespace}, "spec": {"policyName": namespace, "validationActions": ["Deny"]}}  # fmt: skip
    root = f"/apis/{group}/v1"
    control_plane.client.request("POST", f"{root}/validatingadmissionpolicies", policy)
    control_plane.client.request("POST", f"{root}/validatingadmissionpolicybindings", binding)
    try:
        control_plane.until(lambda: refuses(control_plane, namespace, Refused, "not here"), "the policy")
    finally:
        control_plane.client.request("DELETE", f"{root}/validatingadmissionpolicybindings/{namespace}")
        control_plane.client.request("DELETE", f"{root}/validatingadmissionpolicies/{namespace}")


def test_a_quota_is_told_from_a_missing_right(control_plane: Plane, namespace: str) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"namespace": namespace, "name": "q"},
             "spec": {"hard": {"count/configmaps": "0"}}}  # fmt: skip
    control_plane.client.create(quota)

    control_plane.until(lambda: refuses(control_plane, namespace, QuotaExceeded, "exceeded quota"), "the quota")


def test_a_dying_namespace_is_told_from_a_missing_right(control_plane: Plane) -> None:
    namespace = control_plane.new_namespace("dying")
    held = config_map(namespace, "held")
    held["metadata"]["finalizers"] = ["example.com/held"]
    control_plane.client.create(held)
    control_plane.client.delete("namespaces", "", namespace)
    try:
        control_plane.until(lambda: refuses(control_plane, namespace, NamespaceTerminating, ""), "the end")
    finally:
        control_plane.client.patch("configmaps", namespace, "held", {"metadata": {"finalizers": None}})


def test_a_namespace_that_is_not_there_is_told(control_plane: Plane) -> None:
    assert type(refused(control_plane, lambda kube: kube.create(config_map("nowhere")))) is NotFound


def refuses(plane: Plane, namespace: str, kind: type[ClusterError], words: str) -> bool:
    """Whether a ConfigMap is refused like that by now."""
    try:
        made = told(plane, lambda kube: kube.create(config_map(namespace)))
    except ClusterError as error:
        return type(error) is kind and words in str(error)
    plane.client.delete("configmaps", namespace, made["metadata"]["name"])
    return False
