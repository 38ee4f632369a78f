"""KEDA's ScaledObject: the same bounds and targets as an autoscaler's, asked of Prometheus; and down to zero.

KEDA makes an autoscaler of its own from it, and it alone starts the first server and stops the last.  It asks in
Prometheus' own words what the operator's metrics API would answer (`tidegate.plan.load`), of the counters that
Prometheus scrapes.  Where there is no server there is no series, so something else says that one is wanted: `wake`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tidegate.api.scaling import Behavior, Keda, Scaling, Target
from tidegate.plan.manifests.identity import DEPLOYMENT, SCALED_OBJECT, Owner, child_name, head, metadata
from tidegate.plan.manifests.pods import SERVER_CONTAINER
from tidegate.plan.manifests.workload import behavior
from tidegate.plan.wanted import RevisionWanted

POLLING_SECONDS = 15
COOLDOWN_SECONDS = 300  # without any load, before the last server is stopped
OF_ONE_REVISION = "Value"  # means; what adds up is that of all versions, as workload.py tells
NEVER_MORE = "1000000000"  # a threshold that asks for one server, however much the query gives


def scaled_object(owner: Owner, wanted: RevisionWanted, scaling: Scaling, servers: Mapping[str, str]) -> dict[str, Any]:
    """Between the plan's minimum, which may be zero, and maximum; pinned where they are equal.

    `servers` are the addresses of Prometheus by name, of which the spec names one.
    """
    revision, keda = wanted.record.revision, scaling.keda or Keda()
    name, server = child_name(owner, revision), servers.get(keda.prometheus, "")
    triggers = [_target(owner, revision, scaling.target, server)]
    if keda.wake is not None:
        triggers.append(_asked(server, keda.wake, NEVER_MORE))
    spec = {
        "scaleTargetRef": {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.kind, "name": name},
        "minReplicaCount": wanted.replicas,
        "maxReplicaCount": max(1, wanted.replicas, wanted.max_replicas),
        "pollingInterval": POLLING_SECONDS,
        "cooldownPeriod": COOLDOWN_SECONDS,
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior(scaling.behavior or Behavior())}},
        "triggers": triggers,
    }
    return {**head(SCALED_OBJECT, metadata(owner, name, revision)), "spec": spec}


def _target(owner: Owner, revision: str, target: Target, server: str) -> dict[str, Any]:
    if target.cpu_utilization is not None:
        held = {"value": str(target.cpu_utilization), "containerName": SERVER_CONTAINER}
        return {"type": "cpu", "metricType": "Utilization", "metadata": held}
    query, amount, kind = _question(target)
    labels = {"namespace": owner.namespace, "model": owner.name}
    if kind == OF_ONE_REVISION:
        labels["revision"] = revision
    series = ",".join(f"{label}={json.dumps(value)}" for label, value in labels.items())
    return _asked(server, query.replace("SERIES", series), f"{amount:.10g}", kind)


def _question(target: Target) -> tuple[str, float, str]:
    """PromQL about SERIES, what is held, and whether that is a share for each pod or a mean."""
    if target.concurrency is not None:
        busy = 'sum(rate(tidegate_request_duration_seconds_sum{SERIES,traffic!="synthetic"}[1m]))'
        return busy, target.concurrency, "AverageValue"
    if target.requests_per_second is not None:
        return "sum(rate(tidegate_requests_total{SERIES}[1m]))", target.requests_per_second, "AverageValue"
    if target.queue_time is not None:
        waited, began = (
            f"sum(rate(tidegate_queue_duration_seconds_{part}{{SERIES}}[1m]))" for part in ("sum", "count")
        )
        return f"{waited} / ({began} > 0) or vector(0)", target.queue_time.total_seconds(), "Value"
    assert target.gpu_utilization is not None
    return "100 * avg(tidegate_gpu_utilization{SERIES})", target.gpu_utilization, "Value"


def _asked(server: str, query: str, threshold: str, kind: str = "AverageValue") -> dict[str, Any]:
    about = {"serverAddress": server, "query": query, "threshold": threshold}
    return {"type": "prometheus", "metricType": kind, "metadata": about}
