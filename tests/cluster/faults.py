"""What can stand in the way of a version in a cluster, made on purpose, and how it is seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tests.cluster.operating import GROUP, IMAGE, Site, fact, resolution, resolves
from tests.control_plane.audit import Request
from tests.control_plane.client import STRATEGIC, ApiError
from tests.control_plane.jobs import Answer
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.control_plane.simulation import EXIT_CODE, MESSAGE, MODE, REASON
from tests.control_plane.statuses import Ended, container, pulled, waiting
from tests.control_plane.users import OPERATOR
from tests.waiting import wait_until

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.bundle.manifest import Interface
from tidegate.plan.observed import Resolution
from tidegate.plan.revision import revision_name

ADMISSION = "/apis/admissionregistration.k8s.io/v1/validatingadmission"
DENY = "deny"  # label of a namespace: kinds of objects that are not made there, with dots between
SERVERS = "servers"  # there: the pods of model servers
PROBE = "leases"
DENIED = (
    f"namespaceObject == null || !namespaceObject.metadata.labels['{DENY}'].split('.').exists(kind,"
    f" kind == request.resource.resource || kind == '{SERVERS}' && request.resource.resource == 'pods'"
    f" && '{GROUP}/revision' in object.metadata.labels)"
)
GOOD, BAD = "good", "bad"

# -- the bundle


def answer_jobs(site: Site, answer: Answer) -> None:
    assert site.plane.player
    site.plane.player.answer_jobs(site.namespace, answer)


def last_words(reason: str, message: str, code: int = 1) -> Ended:
    """How a program of ours ends."""
    return Ended(code, json.dumps({"reason": reason, "message": message}))


def bad_is(found: Ended | Object) -> Answer:
    """Every bundle is sound but `bad`: its Job ends so, or finds this in a sound bundle."""

    def answer(pod: Object) -> Ended:
        is_bad = any(word.endswith(f"/{BAD}") for word in pod["spec"]["containers"][0]["args"])
        if is_bad and isinstance(found, Ended):
            return found
        return resolves(bad={} if isinstance(found, Ended) else found)(pod)

    return answer


def reading_pod(site: Site) -> Object:
    """The pod of the Job that reads a bundle now."""

    def look() -> Object | None:
        pods = [pod for pod in site.children("pods") if "batch.kubernetes.io/job-name" in pod["metadata"]["labels"]]
        begun = [pod for pod in pods if pod["status"].get("containerStatuses")]
        return next((pod for pod in begun if pod["status"]["phase"] not in ("Succeeded", "Failed")), None)

    return wait_until(look, lambda: "no Job runs")


def cannot_start(site: Site, pod: Object, reason: str, message: str) -> None:
    """A container that waits, as a kubelet says it."""
    state = container(pod["spec"]["containers"][0], waiting(reason, message))
    set_status(site, pod, phase="Pending", containerStatuses=[{**state, "state": {"running": None, **state["state"]}}])


# -- servers


def servers_are(mode: str, **notes: str) -> Object:
    """The spec of servers that are simulated so."""
    return {"runtime": {"pod": {"annotations": {MODE: mode, **notes}}}}


def servers_end(code: int, words: Object | None = None, *, how: str = "Error", mode: str = "crash") -> Object:
    """Servers that end so, again and again; mode `init-crash`: while they fetch the bundle."""
    said = json.dumps(words) if words else ""
    return servers_are(mode, **{REASON: how, EXIT_CODE: str(code), MESSAGE: said})


def fares_so(site: Site, pod: Object, mode: str, **notes: str) -> None:
    """A simulated pod from now on."""
    change = {"metadata": {"annotations": {MODE: mode, **notes}}}
    site.plane.client.patch("pods", site.namespace, pod["metadata"]["name"], change)


def set_status(site: Site, pod: Object, **status: Any) -> None:
    site.plane.client.patch(
        "pods", site.namespace, pod["metadata"]["name"], {"status": status}, subresource="status", form=STRATEGIC
    )


def revision_of(site: Site, version: str, **spec: Any) -> str:
    """The name that the revision of a simulated version will have."""
    read = ModelDeploymentSpec.model_validate(site.manifest(version, real=False, **spec)["spec"])
    uri = f"s3://models/{version}"
    found = resolution(uri, version)
    bundle = Resolution(uri, found["digest"], version, Interface((), ()), has_golden=True, image=pulled(IMAGE))
    return revision_name(bundle, read.runtime)


# -- the namespace


def quota(site: Site, **hard: str) -> None:
    """At most so much; in force when this returns."""
    meta = {"name": "small", "namespace": site.namespace}
    site.plane.client.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": hard}})
    site.plane.client.until("resourcequotas", site.namespace, "small", lambda one: one["status"].get("hard") == hard)


def no_more(site: Site, plural: str, group: str) -> None:
    """As many objects of a kind as there are, and no other."""
    quota(site, **{f"count/{plural}.{group}": str(len(site.plane.client.list(plural, site.namespace)))})


def no_memory(site: Site) -> None:
    """Enough for the servers that there are, each with 1 GiB, and for a Job."""
    quota(site, **{"limits.memory": f"{1024 * len(site.servers()) + 600}Mi"})


def add_policy(plane: Plane) -> None:
    """An admission rule that namespaces come under by a label."""
    rules = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["*"]}
    selector = {"matchExpressions": [{"key": DENY, "operator": "Exists"}]}
    head: Object = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": DENY}}
    plane.client.request("POST", ADMISSION + "policies", {
        **head, "kind": "ValidatingAdmissionPolicy",
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{**rules, "scope": "Namespaced"}]},
            "validations": [{"expression": DENIED, "message": "not in this namespace"}],
        },
    })  # fmt: skip
    plane.client.request("POST", ADMISSION + "policybindings", {
        **head, "kind": "ValidatingAdmissionPolicyBinding",
        "spec": {
            "policyName": DENY, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": selector},
        },
    })  # fmt: skip


def deny(site: Site, kind: str) -> None:
    """The admission rule for this namespace; in force when this returns."""
    label = {"metadata": {"labels": {DENY: f"{kind}.{PROBE}"}}}
    site.plane.client.patch("namespaces", "", site.namespace, label)
    wait_until(lambda: is_denied(site), lambda: "the admission rule is in force")


def is_denied(site: Site) -> bool:
    meta = {"name": "probe", "namespace": site.namespace}
    path = f"/apis/coordination.k8s.io/v1/namespaces/{site.namespace}/{PROBE}"
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": {}}
    try:
        site.plane.client.request("POST", path, lease, query={"dryRun": "All"})
    except ApiError as error:
        return "not in this namespace" in error.message
    return False


def foreign(site: Site, kind: str, name: str) -> Object:
    """An object of somebody else with a name that we would give."""
    meta: Object = {"name": name, "namespace": site.namespace, "labels": {"app": "theirs"}}
    pod = {"metadata": {"labels": {"app": "theirs"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}}
    selector = {"matchLabels": {"app": "theirs"}}
    whole: Mapping[str, Object] = {
        "Service": {"apiVersion": "v1", "spec": {"ports": [{"port": 80}], "selector": {"app": "theirs"}}},
        "ConfigMap": {"apiVersion": "v1", "data": {"theirs": "1"}},
        "Deployment": {"apiVersion": "apps/v1", "spec": {"replicas": 0, "selector": selector, "template": pod}},
        "NetworkPolicy": {"apiVersion": "networking.k8s.io/v1", "spec": {"podSelector": selector}},
        "ControllerRevision": {"apiVersion": "apps/v1", "revision": 1, "data": {"theirs": 1}},
    }
    return site.plane.client.create({"kind": kind, "metadata": meta, **whole[kind]})


# -- what is seen


def events(site: Site) -> list[Object]:
    """What the operator has told of a namespace."""
    found = site.plane.client.request("GET", f"/apis/events.k8s.io/v1/namespaces/{site.namespace}/events")
    return [one for one in found["items"] if one.get("reportingController") == f"{GROUP}/operator"]


def warnings(site: Site) -> list[str]:
    """Reason and note of every warning."""
    return [f"{one['reason']}: {one['note']}" for one in events(site) if one["type"] == "Warning"]


def notes(site: Site, reason: str) -> list[str]:
    """What was told for a reason."""
    return [one["note"] for one in events(site) if one["reason"] == reason]


def writes_of_a_turn(site: Site, **annotations: str) -> list[str]:
    """What the operator writes when the spec is edited in a way that changes nothing.

    Not what is refused again; and not events and the course, which come when there is time.
    """
    edited(site)  # what earlier turns had still to write is written when this one is seen
    mark, began = site.plane.audit.mark(), datetime.now(UTC)
    edited(site, **annotations)

    def writes() -> list[str]:
        found = site.plane.audit.writes(mark, user=OPERATOR.name, namespace=site.namespace)
        # What came before the mark may be in the log after it.
        ours = [one for one in found if datetime.fromisoformat(one.at) > began and one.code < 400]
        return [f"{one.verb} {one.resource}" for one in ours if not later(one, site)]

    return wait_until(writes, lambda: "a write that was seen is in the log")


def edited(site: Site, **annotations: str) -> None:
    """Change the spec in a way that changes nothing, and wait until that is seen."""
    limit = site.get()["spec"]["rollout"]["historyLimit"]
    edit = {"metadata": {"annotations": annotations}, "spec": {"rollout": {"historyLimit": limit % 10 + 1}}}
    changed = site.plane.client.patch("modeldeployments", site.namespace, site.name, edit)
    generation = changed["metadata"]["generation"]
    site.until(lambda one: one["status"].get("observedGeneration") == generation)


def later(request: Request, site: Site) -> bool:
    """Whether it is written in the background; of what is made the log has no name."""
    course = request.resource == "configmaps" and request.name in ("", f"{site.name}-course")
    return course or request.resource == "events"


def held_for(site: Site, reason: str) -> Object:
    """Wait until a rollout waits for this reason, or is over for it."""
    return site.until(
        lambda one: reason in (fact(one, "Reconciling").get("reason"), fact(one, "Stalled").get("reason"))
    )
