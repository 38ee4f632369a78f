"""The controllers of autoscalers and disruption budgets in a fake world."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.plan.manifests.identity import AUTOSCALER, BUDGET, DEPLOYMENT, POD

from .behaviours import REVISION
from .clock import stamp
from .fields import Object
from .kubelet import condition, is_over, is_ready
from .selectors import label_selector

if TYPE_CHECKING:
    from .controllers import World

MANAGER = "kube-controller-manager"


def run_autoscalers(world: World) -> None:
    for obj in world.cluster.listed(AUTOSCALER):
        target = obj["spec"]["scaleTargetRef"]["name"]
        scaled = world.cluster.find(DEPLOYMENT, obj["metadata"]["namespace"], target)
        status = _no_target(world, obj) if scaled is None else _scale(world, obj, scaled)
        _tell(world, obj, status)


def _no_target(world: World, obj: Object) -> Object:
    return {"desiredReplicas": 0, "currentMetrics": None, "conditions": [("AbleToScale", "False", "FailedGetScale")]}


def _scale(world: World, obj: Object, scaled: Object) -> Object:
    """One decision; a Deployment of none is never scaled."""
    now = scaled["spec"]["replicas"]
    if now == 0:
        told = [("AbleToScale", "True", "SucceededGetScale"), ("ScalingActive", "False", "ScalingDisabled")]
        return {"currentReplicas": 0, "desiredReplicas": 0, "conditions": told}
    wish = now if world.metrics_dead else _wish(world, scaled, now)
    wanted = min(max(wish, obj["spec"]["minReplicas"]), obj["spec"]["maxReplicas"])
    active = ("False", "FailedGetResourceMetric") if world.metrics_dead else ("True", "ValidMetricFound")
    status: Object = {
        "currentReplicas": now,
        "desiredReplicas": wanted,
        "conditions": [("AbleToScale", "True", "ReadyForNewScale"), ("ScalingActive", *active)],
    }
    if wanted != now:
        world.cluster.scale(DEPLOYMENT, scaled["metadata"]["namespace"], scaled["metadata"]["name"], wanted, MANAGER)
        status["lastScaleTime"] = stamp(world.now)
    return status


def _wish(world: World, scaled: Object, now: int) -> int:
    """How many the load asks for; where nothing was said, as many as there are."""
    revision = (scaled["metadata"].get("labels") or {}).get(REVISION, "")
    named = (scaled["metadata"]["name"], revision)
    return next((world.load[name] for name in named if name in world.load), now)


def _tell(world: World, obj: Object, status: Object) -> None:
    old = {one["type"]: one for one in obj["status"].get("conditions") or ()}
    told = [condition(kind, value, world.now, reason) for kind, value, reason in status["conditions"]]
    for one in told:
        before = old.get(one["type"])
        if before and before["status"] == one["status"]:
            one["lastTransitionTime"] = before["lastTransitionTime"]
    last = {"lastScaleTime": obj["status"]["lastScaleTime"]} if "lastScaleTime" in obj["status"] else {}
    new = {"currentMetrics": None, **last, **status, "conditions": told}
    if new != obj["status"]:
        world.cluster.replace({**obj, "status": new}, MANAGER, "status")


def run_budgets(world: World) -> None:
    for obj in world.cluster.listed(BUDGET):
        selected = label_selector(obj["spec"].get("selector"))
        pods = [pod for pod in world.cluster.listed(POD, obj["metadata"]["namespace"]) if not is_over(pod)]
        pods = [pod for pod in pods if selected(pod["metadata"].get("labels") or {})]
        healthy = sum(map(is_ready, pods))
        least = max(0, len(pods) - int(obj["spec"].get("maxUnavailable", 1)))
        status = {
            "observedGeneration": obj["metadata"]["generation"],
            "expectedPods": len(pods),
            "currentHealthy": healthy,
            "desiredHealthy": least,
            "disruptionsAllowed": max(0, healthy - least),
        }
        if status != obj["status"]:
            world.cluster.replace({**obj, "status": status}, MANAGER, "status")
