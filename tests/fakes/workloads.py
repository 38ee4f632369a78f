"""The controllers of Deployments and Jobs in a fake world: pods from templates, and what they say of themselves."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from tidegate.cluster.errors import ClusterError
from tidegate.plan.manifests.identity import DEPLOYMENT, JOB, POD

from .behaviours import Trouble
from .clock import moment, stamp
from .fields import Object
from .kubelet import condition, is_over, is_ready, owner_uid

if TYPE_CHECKING:
    from .controllers import World

MANAGER = "kube-controller-manager"
HASH = "pod-template-hash"
QUOTA = "is forbidden: exceeded quota: compute, requested: pods=1, used: pods=9, limited: pods=9"


def pods_of(world: World, obj: Object) -> list[Object]:
    """The living pods of a controller, the oldest first."""
    uid = obj["metadata"]["uid"]
    pods = [pod for pod in world.cluster.listed(POD, obj["metadata"]["namespace"]) if owner_uid(pod) == uid]
    return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]


def make_pod(world: World, obj: Object, labels: Object) -> None:
    """One pod from the template of `obj`."""
    world.pods_made += 1
    template, name = obj["spec"]["template"], obj["metadata"]["name"]
    metadata = template.get("metadata") or {}
    reference = {
        "apiVersion": obj["apiVersion"], "kind": obj["kind"], "name": name, "uid": obj["metadata"]["uid"],
        "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{name}-{world.pods_made:05d}",
            "namespace": obj["metadata"]["namespace"],
            "labels": {**(metadata.get("labels") or {}), **labels},
            "annotations": metadata.get("annotations") or {},
            "ownerReferences": [reference],
        },
        "spec": template["spec"],
    }
    world.cluster.create(pod, MANAGER)


def delete_pods(world: World, pods: list[Object]) -> None:
    for pod in pods:
        world.cluster.delete(POD, pod["metadata"]["namespace"], pod["metadata"]["name"])


# -- Deployments -----------------------------------------------------------------------------------


def run_deployments(world: World) -> None:
    for obj in world.cluster.listed(DEPLOYMENT):
        if not obj["metadata"].get("deletionTimestamp"):
            refusal = _roll(world, obj)
            _tell_deployment(world, obj, refusal)


def template_hash(obj: Object) -> str:
    return hashlib.sha256(json.dumps(obj["spec"]["template"], sort_keys=True).encode()).hexdigest()[:10]


def _roll(world: World, obj: Object) -> str:
    """One step of a rolling update; what the server said when it took no pod."""
    current, old = _by_template(world, obj)
    replicas = obj["spec"]["replicas"]
    surge, unavailable = _bounds(obj)
    room = replicas + (surge if old else 0) - len(current) - len(old)
    missing = min(replicas - len(current), room)
    refusal = ""
    for _ in range(missing):
        if refusal := _refusal(world, obj):
            break
        make_pod(world, obj, {HASH: template_hash(obj)})
    current.sort(key=is_ready)
    delete_pods(world, current[: max(0, len(current) - replicas)])
    _take_old(world, current, old, replicas - unavailable)
    return refusal


def _by_template(world: World, obj: Object) -> tuple[list[Object], list[Object]]:
    """Pods of the present template and of former ones, without those that have ended (evicted ones stay to be seen)."""
    pods = [pod for pod in pods_of(world, obj) if not is_over(pod)]
    wanted = template_hash(obj)
    current = [pod for pod in pods if pod["metadata"]["labels"].get(HASH) == wanted]
    return current, [pod for pod in pods if pod not in current]


def _bounds(obj: Object) -> tuple[int, int]:
    """How many more, and how many fewer, than wanted there may be."""
    strategy, replicas = obj["spec"]["strategy"], obj["spec"]["replicas"]
    if strategy["type"] == "Recreate":
        return 0, replicas
    rolling = strategy["rollingUpdate"]
    surge = _share(rolling["maxSurge"], replicas, up=True)
    unavailable = _share(rolling["maxUnavailable"], replicas, up=False)
    return surge, unavailable if surge or unavailable else 1


def _share(value: int | str, replicas: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    part = replicas * int(value.rstrip("%")) / 100
    return math.ceil(part) if up else math.floor(part)


def _take_old(world: World, current: list[Object], old: list[Object], least: int) -> None:
    """Old pods go: those that serve nothing at once, the others as new ones become ready."""
    spare = sum(map(is_ready, [*current, *old])) - least
    for pod in sorted(old, key=is_ready):
        if is_ready(pod):
            if spare <= 0:
                break
            spare -= 1
        delete_pods(world, [pod])


def _refusal(world: World, obj: Object) -> str:
    """Why a pod of this template cannot be made, if so."""
    probe = {
        "metadata": {"labels": obj["spec"]["template"]["metadata"].get("labels")},
        "spec": obj["spec"]["template"]["spec"],
    }
    name = f'pods "{obj["metadata"]["name"]}-{world.pods_made + 1:05d}"'
    if world.behaviours.of_pod(probe).trouble is Trouble.QUOTA:
        return f"{name} {QUOTA}"
    try:
        for rule in world.pod_admission:
            rule(probe)
    except ClusterError as error:
        return f"{name} is forbidden: {error.what}"
    return ""


def _tell_deployment(world: World, obj: Object, refusal: str) -> None:
    current, old = _by_template(world, obj)
    ready = sum(map(is_ready, [*current, *old]))
    counts = {
        "replicas": len(current) + len(old),
        "updatedReplicas": len(current),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(0, obj["spec"]["replicas"] - ready),
    }
    status: Object = {"observedGeneration": obj["metadata"]["generation"], "terminatingReplicas": _leaving(world, obj)}
    status |= {name: count for name, count in counts.items() if count}
    status["conditions"] = _deployment_conditions(world, obj, counts, refusal)
    if status != obj["status"]:
        world.cluster.replace({**obj, "status": status}, MANAGER, "status")


def _leaving(world: World, obj: Object) -> int:
    pods = world.cluster.listed(POD, obj["metadata"]["namespace"])
    return sum(
        1 for pod in pods if pod["metadata"].get("deletionTimestamp") and owner_uid(pod) == obj["metadata"]["uid"]
    )


def _deployment_conditions(world: World, obj: Object, counts: dict[str, int], refusal: str) -> list[Object]:
    old = {one["type"]: one for one in obj["status"].get("conditions") or ()}
    replicas = obj["spec"]["replicas"]
    enough = counts["availableReplicas"] >= replicas - _bounds(obj)[1]
    reason = "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable"
    made = [("Available", str(enough), reason, ""), _progress(world, obj, counts, old.get("Progressing"))]
    if refusal:
        made.append(("ReplicaFailure", "True", "FailedCreate", refusal))
    return [_dated(world, old.get(kind), kind, *rest, moved=_moved(obj, counts)) for kind, *rest in made]


def _moved(obj: Object, counts: dict[str, int]) -> bool:
    return any(counts[name] > obj["status"].get(name, 0) for name in ("updatedReplicas", "readyReplicas"))


def _progress(world: World, obj: Object, counts: dict[str, int], old: Object | None) -> tuple[str, str, str, str]:
    replicas = obj["spec"]["replicas"]
    if counts["updatedReplicas"] == counts["replicas"] == counts["availableReplicas"] == replicas:
        return "Progressing", "True", "NewReplicaSetAvailable", ""
    if old and not _moved(obj, counts) and _has_stalled(world, obj, old):
        return "Progressing", "False", "ProgressDeadlineExceeded", "has timed out progressing."
    return "Progressing", "True", "ReplicaSetUpdated", ""


def _has_stalled(world: World, obj: Object, old: Object) -> bool:
    limit = timedelta(seconds=obj["spec"]["progressDeadlineSeconds"])
    late = world.now > moment(old["lastUpdateTime"]) + limit
    return old["reason"] == "ProgressDeadlineExceeded" or (old["reason"] != "NewReplicaSetAvailable" and late)


def _dated(
    world: World, old: Object | None, kind: str, status: str, reason: str, message: str, *, moved: bool
) -> Object:
    new = condition(kind, status, world.now, reason, message)
    if old and old["status"] == status:
        new["lastTransitionTime"] = old["lastTransitionTime"]
    kept = old and old["reason"] == reason and not (kind == "Progressing" and moved)
    return {**new, "lastUpdateTime": old["lastUpdateTime"] if old and kept else stamp(world.now)}


# -- Jobs ----------------------------------------------------------------------------------------------


def run_jobs(world: World) -> None:
    for obj in world.cluster.listed(JOB):
        if not obj["metadata"].get("deletionTimestamp"):
            _run_job(world, obj)


def _run_job(world: World, obj: Object) -> None:
    if ended := _ended_at(obj):
        life = obj["spec"].get("ttlSecondsAfterFinished")
        if life is not None and world.now >= ended + timedelta(seconds=life):
            world.cluster.delete(JOB, obj["metadata"]["namespace"], obj["metadata"]["name"])
        return
    pods = pods_of(world, obj)
    phases = [pod["status"]["phase"] for pod in pods]
    begun = obj["status"].get("startTime") or stamp(world.now)
    if _is_late(world, obj, begun):
        delete_pods(world, [pod for pod in pods if not is_over(pod)])
        _end_job(world, obj, begun, phases, "Failed", "DeadlineExceeded")
    elif "Succeeded" in phases:
        _end_job(world, obj, begun, phases, "Complete", "CompletionsReached")
    elif phases.count("Failed") > obj["spec"]["backoffLimit"]:
        _end_job(world, obj, begun, phases, "Failed", "BackoffLimitExceeded")
    else:
        _go_on(world, obj, begun, phases)


def _ended_at(obj: Object) -> datetime | None:
    for one in obj["status"].get("conditions") or ():
        if one["type"] in ("Complete", "Failed") and one["status"] == "True":
            return moment(one["lastTransitionTime"])
    return None


def _is_late(world: World, obj: Object, begun: str) -> bool:
    limit = obj["spec"].get("activeDeadlineSeconds")
    return limit is not None and world.now >= moment(begun) + timedelta(seconds=limit)


def _go_on(world: World, obj: Object, begun: str, phases: list[str]) -> None:
    living = [phase for phase in phases if phase != "Failed"]
    if not living and not obj["spec"].get("suspend") and not _refusal(world, obj):
        make_pod(world, obj, {})
        living = ["Pending"]
    status = {"startTime": begun, "active": len(living), "ready": phases.count("Running"), "terminating": 0}
    _tell_job(world, obj, status | ({"failed": phases.count("Failed")} if "Failed" in phases else {}))


def _end_job(world: World, obj: Object, begun: str, phases: list[str], kind: str, reason: str) -> None:
    message = {
        "DeadlineExceeded": "Job was active longer than specified deadline",
        "BackoffLimitExceeded": "Job has reached the specified backoff limit",
        "CompletionsReached": "Reached expected number of succeeded pods",
    }[reason]
    first = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
    told = [condition(name, "True", world.now, reason, message) for name in (first, kind)]
    status: Object = {"startTime": begun, "ready": 0, "terminating": 0, "conditions": told}
    if kind == "Complete":
        status |= {"succeeded": 1, "completionTime": stamp(world.now)}
    if failed := phases.count("Failed"):
        status["failed"] = failed
    _tell_job(world, obj, status)


def _tell_job(world: World, obj: Object, status: Object) -> None:
    if status != obj["status"]:
        world.cluster.replace({**obj, "status": status}, MANAGER, "status")
