"""Fields of a spec that a cluster does not act on yet, so that nobody who sets them believes that it does.

What only costs speed is told in an event.  What somebody relies on (what can be read at all) refuses the version: an
open door is worse than a shut one.
"""

from __future__ import annotations

from collections.abc import Callable

from tidegate.api.runtime import Runtime
from tidegate.api.scaling import Scaling
from tidegate.api.spec import ModelDeploymentSpec

Look = Callable[[ModelDeploymentSpec], str]


def unheeded(spec: ModelDeploymentSpec) -> tuple[str, ...]:
    """A sentence for each field that is set and has no effect."""
    return tuple(sentence for look in _TOLD if (sentence := look(spec)))


def unsupported(spec: ModelDeploymentSpec) -> str:
    """Why a version must not serve as this spec asks; empty when nothing forbids it."""
    return next((sentence for look in _REFUSED if (sentence := look(spec))), "")


def not_scaled(scaling: Scaling, runtime: Runtime) -> str:
    """Why there is no autoscaler for a spec that wants one; empty: there is one, or none is wanted."""
    if scaling.most_replicas <= scaling.min_replicas:
        return ""
    least = max(1, scaling.min_replicas)
    if scaling.provider == "KEDA":
        return f"scaling.provider: KEDA has no effect yet: {least} pods run"
    if scaling.target.cpu_utilization is None:
        return f"only scaling.target.cpuUtilization has an effect yet: {least} pods run"
    if runtime.resources.requests.cpu is None and runtime.resources.limits.cpu is None:
        return f"scaling.target.cpuUtilization is a share of runtime.resources.requests.cpu: add that; {least} pods run"
    return ""


def _scaling(spec: ModelDeploymentSpec) -> str:
    return not_scaled(spec.scaling, spec.runtime)


def _routing(spec: ModelDeploymentSpec) -> str:
    routing = spec.routing
    if routing.existing_route_ref and routing.headers:
        return "routing.headers: the rules of existingRouteRef are yours, write one with that header there"
    if routing.existing_route_ref:
        return ""
    if routing.parent_refs or not (routing.hostnames or routing.grpc_hostnames or routing.headers):
        return ""
    return "hostnames, grpcHostnames and headers of spec.routing need a gateway: name one in routing.parentRefs"


def _decryption(spec: ModelDeploymentSpec) -> str:
    return "encrypted bundles are not read yet: leave bundle.decryption out" if spec.bundle.decryption else ""


_REFUSED: tuple[Look, ...] = (_decryption,)
_TOLD: tuple[Look, ...] = (_routing, _scaling)
