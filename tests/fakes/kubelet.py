"""Scheduler and kubelets of a fake world: a pod's status from its age and from what was said about its version."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from tidegate.plan.manifests.identity import POD

from .behaviours import Trouble, addresses, answer
from .clock import moment, stamp
from .fields import Object

if TYPE_CHECKING:
    from .controllers import World

NODE = "node-1"
RESTARTS_AT = (0, 10, 30, 70, 150, 310)  # seconds of age at which a container that ends at once is started
LATER_RESTARTS = 300
IN_INIT = (Trouble.INIT_FAILS,)
BEFORE_START = (Trouble.IMAGE_PULL, Trouble.NO_SECRET)
ENDS = (Trouble.CRASH_LOOP, Trouble.OUT_OF_MEMORY)


def schedule(world: World) -> None:
    """Give every pod a node for which there is room."""
    pods = world.cluster.listed(POD)
    placed = sum(1 for pod in pods if pod["spec"].get("nodeName") and not is_over(pod))
    for pod in pods:
        if pod["spec"].get("nodeName") or is_over(pod):
            continue
        blocked = _trouble(world, pod) is Trouble.UNSCHEDULABLE
        if blocked or (world.room is not None and placed >= world.room):
            _set_status(world, pod, _unscheduled(pod, world.now))
        else:
            placed += 1
            pod["spec"]["nodeName"] = NODE
            world.cluster.replace(pod, "kube-scheduler")


def _unscheduled(pod: Object, now: datetime) -> Object:
    message = "0/1 nodes are available: 1 Insufficient memory. preemption: no victims found."
    scheduled = condition("PodScheduled", "False", now, "Unschedulable", message)
    return {**pod["status"], "phase": "Pending", "conditions": [scheduled]}


def run_pods(world: World) -> None:
    """Every pod that has a node: its status as of now, or its end."""
    ranks: dict[str, int] = {}
    for pod in sorted(world.cluster.listed(POD), key=_age_order):
        if not pod["spec"].get("nodeName"):
            continue
        if pod["metadata"].get("deletionTimestamp"):
            _stop(world, pod)
        elif not is_over(pod):
            controller = owner_uid(pod)
            ranks[controller] = ranks.get(controller, 0) + 1
            _set_status(world, pod, _status(world, pod, ranks[controller]))


def _age_order(pod: Object) -> tuple[str, str]:
    return pod["metadata"]["creationTimestamp"], pod["metadata"]["uid"]


def owner_uid(obj: Object) -> str:
    owners = obj["metadata"].get("ownerReferences") or ()
    return str(next((one["uid"] for one in owners if one.get("controller")), ""))


def _stop(world: World, pod: Object) -> None:
    asked = moment(pod["metadata"]["deletionTimestamp"])
    if world.now >= asked + timedelta(seconds=world.behaviours.of_pod(pod).stop_after):
        world.cluster.remove(POD, pod["metadata"]["namespace"], pod["metadata"]["name"])


def is_over(pod: Object) -> bool:
    return pod["status"]["phase"] in ("Succeeded", "Failed")


def is_ready(pod: Object) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions") or ())


def is_job(pod: Object) -> bool:
    return any(one["kind"] == "Job" for one in pod["metadata"].get("ownerReferences") or ())


def _trouble(world: World, pod: Object) -> Trouble:
    if is_job(pod):
        found = (world.bundles.get(uri) for uri in addresses(pod["spec"]))
        return next((bundle.trouble for bundle in found if bundle), Trouble.NONE)
    return world.behaviours.of_pod(pod).trouble


# -- the status of one pod ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Life:
    """What a status is made from."""

    pod: Object
    now: datetime
    since: datetime  # when the pod got its node
    trouble: Trouble
    exit_code: int
    message: str
    image_digest: str

    @property
    def age(self) -> float:
        return max(0.0, (self.now - self.since).total_seconds())


def _status(world: World, pod: Object, rank: int) -> Object:
    servers = world.behaviours.of_pod(pod)
    since = moment(pod["status"].get("startTime") or stamp(world.now))
    life = Life(pod, world.now, since, _trouble(world, pod), servers.exit_code, servers.message, world.image_digest)
    if is_job(pod):
        return _job_status(world, life)
    due = life.age >= servers.ready_after and (servers.most_ready is None or rank <= servers.most_ready)
    return _server_status(life, ready=due and life.trouble is Trouble.NONE)


def _server_status(life: Life, *, ready: bool) -> Object:
    first, main = life.pod["spec"].get("initContainers", []), life.pod["spec"]["containers"]
    stuck_early = life.trouble in (*IN_INIT, *BEFORE_START)
    initialized = not first or not stuck_early
    inits = [_container(life, one, number == 0 and stuck_early, done=True) for number, one in enumerate(first)]
    if not initialized:
        mains = [_waiting(life, one, "PodInitializing") for one in main]
    else:
        stuck = life.trouble in (*ENDS, *BEFORE_START)
        mains = [_container(life, one, number == 0 and stuck, ready=ready) for number, one in enumerate(main)]
    running = initialized and life.trouble not in BEFORE_START
    return _whole(life, "Running" if running else "Pending", inits, mains, initialized=initialized, ready=ready)


def _whole(
    life: Life, phase: str, inits: list[Object], mains: list[Object], *, initialized: bool, ready: bool
) -> Object:
    number = int(life.pod["metadata"]["uid"][-12:])
    address = f"10.244.{number // 250 % 256}.{number % 250 + 1}"
    conditions = [
        condition("PodScheduled", "True", life.now),
        condition("Initialized", str(initialized), life.now),
        condition("ContainersReady", str(ready), life.now, "" if ready else "ContainersNotReady"),
        condition("Ready", str(ready), life.now, "" if ready else "ContainersNotReady"),
    ]
    return {
        "phase": phase,
        "qosClass": life.pod["status"]["qosClass"],
        "startTime": stamp(life.since),
        "hostIP": "10.90.0.1",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": conditions,
        **({"initContainerStatuses": inits} if inits else {}),
        "containerStatuses": mains,
    }


def _container(life: Life, container: Object, stuck: bool, *, done: bool = False, ready: bool = False) -> Object:
    """A container's status: in trouble, done (an init container), or running."""
    if stuck and life.trouble in BEFORE_START:
        reason = "ImagePullBackOff" if life.trouble is Trouble.IMAGE_PULL else "CreateContainerConfigError"
        message = (
            "Back-off pulling image" if life.trouble is Trouble.IMAGE_PULL else 'secret "s3-credentials" not found'
        )
        return _waiting(life, container, reason, message)
    if stuck:
        return _ending(life, container)
    if done:
        ended = _ended(life, life.since, 0, "")
        return _entry(life, container, {"terminated": ended}, ready=True)
    return _entry(life, container, {"running": {"startedAt": stamp(life.since)}}, ready=ready)


def _ending(life: Life, container: Object) -> Object:
    """A container that ends as soon as it is started, again and again."""
    out_of_memory = life.trouble is Trouble.OUT_OF_MEMORY
    code, message = (137, "") if out_of_memory else (life.exit_code, life.message)
    restarts, started = _restarts(life.age)
    at = life.since + timedelta(seconds=started)
    ended = _ended(life, at, code, message) | ({"reason": "OOMKilled"} if out_of_memory else {})
    if life.age < 1:
        return _entry(life, container, {"terminated": ended})
    waiting = {"reason": "CrashLoopBackOff", "message": f"back-off restarting failed container {container['name']}"}
    return _entry(life, container, {"waiting": waiting}) | {
        "lastState": {"terminated": ended},
        "restartCount": restarts,
    }


def _restarts(age: float) -> tuple[int, int]:
    """How often it was started again by that age, and when last."""
    passed = [at for at in RESTARTS_AT if at <= age]
    later = int((age - RESTARTS_AT[-1]) // LATER_RESTARTS) if age > RESTARTS_AT[-1] else 0
    return max(1, len(passed) - 1 + later), passed[-1] + later * LATER_RESTARTS


def _ended(life: Life, at: datetime, code: int, message: str) -> Object:
    said = {"message": message} if message else {}
    reason = "Completed" if code == 0 else "Error"
    return {"exitCode": code, "reason": reason, "startedAt": stamp(at), "finishedAt": stamp(at), **said}


def _waiting(life: Life, container: Object, reason: str, message: str = "") -> Object:
    waiting = {"reason": reason} | ({"message": message} if message else {})
    return _entry(life, container, {"waiting": waiting}) | {"imageID": ""}


def _entry(life: Life, container: Object, state: Object, *, ready: bool = False) -> Object:
    repository = container["image"].partition("@")[0].rpartition("/")
    name = f"{repository[0]}{repository[1]}{repository[2].partition(':')[0]}"
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": f"{name}@{life.image_digest}",
        "ready": ready,
        "started": "running" in state,
        "restartCount": 0,
        "state": state,
        "lastState": {},
    }


def _job_status(world: World, life: Life) -> Object:
    """A resolve pod: it answers after a while, and that is its end."""
    found = next((world.bundles[uri] for uri in addresses(life.pod["spec"]) if uri in world.bundles), None)
    container = life.pod["spec"]["containers"][0]
    if life.trouble in BEFORE_START:
        return _whole(life, "Pending", [], [_container(life, container, True)], initialized=True, ready=False)
    if life.trouble is Trouble.NEVER_READY or (found and life.age < found.after):
        return _whole(
            life, "Running", [], [_container(life, container, False, ready=True)], initialized=True, ready=True
        )
    code, message = answer(world.bundles, life.pod["spec"])
    ended = _entry(life, container, {"terminated": _ended(life, life.now, code, message)})
    return _whole(life, "Failed" if code else "Succeeded", [], [ended], initialized=True, ready=False)


def condition(kind: str, status: str, now: datetime, reason: str = "", message: str = "") -> Object:
    told = {name: text for name, text in (("reason", reason), ("message", message)) if text}
    return {"type": kind, "status": status, "lastTransitionTime": stamp(now), **told}


def _set_status(world: World, pod: Object, status: Object) -> None:
    """Write the status if anything but the time is new in it."""
    before = {one["type"]: one for one in pod["status"].get("conditions") or ()}
    for one in status.get("conditions") or ():
        old = before.get(one["type"])
        if old and old["status"] == one["status"]:
            one["lastTransitionTime"] = old["lastTransitionTime"]
    if status != pod["status"]:
        world.cluster.replace({**pod, "status": status}, "kubelet", "status")


def image_digest(image: str) -> str:
    return "sha256:" + hashlib.sha256(image.encode()).hexdigest()
