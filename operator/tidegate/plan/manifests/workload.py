"""What runs the pods of a revision: Deployment, autoscaler, disruption budget.

What the fields of `spec.scaling` do: `minReplicas` and `maxReplicas` bound the stable revision's autoscaler, or the
minimum is the number of pods where there is none; `target` is what it holds: of the server's own CPU, or of what
servers count, by an external metric; `behavior` is handed to it, and what is not given is Kubernetes' default, written
out, because a field that was once written is not taken away by leaving it out.  For `provider: KEDA` see keda.py; where
nobody can scale by a spec `minReplicas` pods run (one for zero), and unheeded.py says why to whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.api.scaling import Behavior, Scaling, ScalingRules, Target
from tidegate.plan.manifests.identity import (
    ANNOTATION_TEMPLATE,
    AUTOSCALER,
    BUDGET,
    DEPLOYMENT,
    Object,
    Owner,
    child_name,
    head,
    metadata,
    pods_of,
)
from tidegate.plan.manifests.pods import SERVER_CONTAINER, written
from tidegate.plan.manifests.stored import template_hash
from tidegate.plan.wanted import RevisionWanted

# Longer than any `rollout.progressDeadline`, which is the one that counts: a model that loads for longer than the
# default of ten minutes is not to be called stuck.  Without a deadline a Deployment would not tell of refused sets.
DEADLINE_SECONDS = 8 * 24 * 3600
SCALE_UP: dict[str, Any] = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
SCALE_DOWN: dict[str, Any] = {
    "stabilizationWindowSeconds": 300,
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}


def deployment(owner: Owner, revision: str, template: Object) -> dict[str, Any]:
    """The Deployment of a revision, without `replicas`: those belong to the create call, then to whoever scales."""
    meta = metadata(owner, child_name(owner, revision), revision)
    meta["annotations"] = {ANNOTATION_TEMPLATE: template_hash(template)}
    spec = {
        "selector": {"matchLabels": pods_of(owner, revision)},
        "template": template,
        "progressDeadlineSeconds": DEADLINE_SECONDS,
        "revisionHistoryLimit": 1,  # the template changes only where somebody changed it, and back
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
    }
    return {**head(DEPLOYMENT, meta), "spec": spec}


def pods_wanted(wanted: RevisionWanted) -> int:
    """How many pods run where no autoscaler counts; one where the minimum is zero."""
    return max(1, wanted.replicas)


def autoscaler(owner: Owner, wanted: RevisionWanted, scaling: Scaling) -> dict[str, Any]:
    """Between the plan's minimum and maximum; pinned where they are equal."""
    name = child_name(owner, wanted.record.revision)
    spec = {
        "scaleTargetRef": {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.kind, "name": name},
        "minReplicas": pods_wanted(wanted),
        "maxReplicas": max(pods_wanted(wanted), wanted.max_replicas),
        "metrics": [_metric(owner, wanted.record.revision, scaling.target)],
        "behavior": behavior(scaling.behavior or Behavior()),
    }
    return {**head(AUTOSCALER, metadata(owner, name, wanted.record.revision)), "spec": spec}


def _metric(owner: Owner, revision: str, target: Target) -> dict[str, Any]:
    """What the autoscaler looks at: per pod of what adds up, and a value of what is a mean.

    What adds up is that of all versions, whoever answers: the stable version can then take everything back at any step,
    and the candidate, whose servers are a share of the stable version's, has enough for its own.  By the revision's
    share alone it would not be seen how much the load has grown.  A mean is its own: another version's idle servers
    would lower it.
    """
    if target.cpu_utilization is not None:
        held = {"type": "Utilization", "averageUtilization": target.cpu_utilization}
        # Of the server alone: a sidecar that somebody injects does not count.
        return {
            "type": "ContainerResource",
            "containerResource": {"name": "cpu", "container": SERVER_CONTAINER, "target": held},
        }
    # Labels of the servers' own series: adapters take a selector's keys for theirs.
    of_all = {"model": owner.name}
    its_own = {**of_all, "revision": revision}
    if target.concurrency is not None:
        return _external("tidegate_concurrency", of_all, averageValue=target.concurrency)
    if target.requests_per_second is not None:
        return _external("tidegate_requests_per_second", of_all, averageValue=target.requests_per_second)
    if target.queue_time is not None:
        return _external("tidegate_queue_seconds", its_own, value=target.queue_time.total_seconds())
    assert target.gpu_utilization is not None
    return _external("tidegate_gpu_utilization", its_own, value=target.gpu_utilization)


def _external(metric: str, labels: Mapping[str, str], **held: float) -> dict[str, Any]:
    selector = {"matchLabels": {**labels}}
    [(name, amount)] = held.items()
    target = {"type": name[0].upper() + name[1:], name: quantity(amount)}
    return {"type": "External", "external": {"metric": {"name": metric, "selector": selector}, "target": target}}


def quantity(amount: float) -> str:
    """A number as the API server writes it: in thousandths where it is not whole."""
    thousandths = round(1000 * amount)
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


def behavior(given: Behavior) -> dict[str, Any]:
    """The whole of it, with Kubernetes' own where nothing is given."""
    return {"scaleUp": _rules(given.scale_up, SCALE_UP), "scaleDown": _rules(given.scale_down, SCALE_DOWN)}


def _rules(given: ScalingRules | None, default: dict[str, Any]) -> dict[str, Any]:
    return {**default, **written(given)} if given else default


def budget(owner: Owner, revision: str) -> dict[str, Any]:
    """At most one pod at a time leaves for a drained node; pods that are not ready hold nobody up."""
    spec = {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": pods_of(owner, revision)},
    }
    return {**head(BUDGET, metadata(owner, child_name(owner, revision), revision)), "spec": spec}
