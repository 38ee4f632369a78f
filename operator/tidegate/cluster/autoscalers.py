"""What autoscalers say of themselves: one that does not know the load leaves the number of pods as it is.

Told after a minute only: while an operator takes over, or metrics-server restarts, it passes by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tidegate.cluster.failures import environment
from tidegate.plan.observed import Failure

PATIENCE = timedelta(minutes=1)
FAILED = "FailedGet"  # …ExternalMetric, …ContainerResourceMetric
CPU = "FailedGetContainerResourceMetric"
# What an autoscaler says before the cause is longer than a message may be: the whole selector, as Go prints it.
BEFORE_CAUSE = re.compile(r"(?:metrics API|\}): ")
METRICS_SERVER = "install metrics-server"
METRICS_API = "set metricsApi.enabled in the operator's chart, or install an adapter: docs/autoscaling.md"
KEDA = "correct spec.scaling.keda, or look at KEDA's log"

Object = Mapping[str, Any]


def blind(autoscaler: Object | None, now: datetime) -> Failure | None:
    """Why an autoscaler does not know the load, once that has lasted."""
    found = _inactive(autoscaler)
    if found is None or now - _since(found) < PATIENCE:
        return None
    do = METRICS_SERVER if found["reason"] == CPU else METRICS_API
    cause = BEFORE_CAUSE.split(str(found.get("message")))[-1]
    return environment("LoadUnknown", f"the autoscaler does not know the load: {cause}", do)


def blind_in(autoscaler: Object | None, now: datetime) -> timedelta | None:
    """When to look whether it has lasted; None: there is nothing to look for, or it has been seen."""
    found = _inactive(autoscaler)
    left = PATIENCE - (now - _since(found)) if found else timedelta(0)
    return left if left > timedelta(0) else None


def refused(scaled_object: Object | None) -> Failure | None:
    """Why KEDA does not scale by an object of ours."""
    for one in ((scaled_object or {}).get("status") or {}).get("conditions") or ():
        if one.get("type") == "Ready" and one.get("status") == "False":
            return environment("LoadUnknown", f"KEDA does not scale by its ScaledObject: {one.get('message')}", KEDA)
    return None


def _inactive(autoscaler: Object | None) -> Object | None:
    for one in ((autoscaler or {}).get("status") or {}).get("conditions") or ():
        if one.get("type") == "ScalingActive" and one.get("status") == "False":
            return one if str(one.get("reason")).startswith(FAILED) else None
    return None


def _since(condition: Object) -> datetime:
    return datetime.fromisoformat(str(condition["lastTransitionTime"]))
