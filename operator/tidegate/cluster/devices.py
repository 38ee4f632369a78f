"""What kubelets say of the devices that servers hold (Kubernetes 1.36 and newer; older ones say nothing).

A device that its plugin calls unhealthy stays with its pod, and a server that dies is started again on the same one:
only a pod that is deleted makes way for one on another device.  Nobody but a person knows whether that is better.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tidegate.cluster.failures import containers, environment
from tidegate.plan.observed import Failure

UNHEALTHY = "Unhealthy"
DELETE = "delete the pod for one on another device"

Object = Mapping[str, Any]


def unhealthy(pods: Iterable[Object]) -> Failure | None:
    """Which servers go on with a device that is not sound."""
    found = sorted(
        f"{pod['metadata']['name']} ({device})" for pod in pods for device in _unhealthy(pod.get("status") or {})
    )
    what = "a device is unhealthy" if len(found) == 1 else f"{len(found)} devices are unhealthy"
    return environment("DeviceUnhealthy", f"{what}, of {', '.join(found)}", DELETE) if found else None


def _unhealthy(status: Object) -> Iterator[str]:
    for container in containers(status):
        for resource in container.get("allocatedResourcesStatus") or ():
            for device in resource.get("resources") or ():
                if device.get("health") == UNHEALTHY:
                    yield f"{resource.get('name')} {device.get('resourceID')}"
