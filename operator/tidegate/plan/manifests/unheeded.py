"""Fields of a spec that a cluster does not act on: told in an event, so that nobody who sets them believes it does."""

from __future__ import annotations

from tidegate.api.runtime import Runtime
from tidegate.api.scaling import Keda, Scaling
from tidegate.api.spec import ModelDeploymentSpec
from tidegate.plan.manifests.platform import Platform


def unheeded(spec: ModelDeploymentSpec, platform: Platform) -> tuple[str, ...]:
    """A sentence for each field that is set and has no effect."""
    found = (_routing(spec), not_scaled(spec.scaling, spec.runtime, platform), _keda(spec.scaling))
    return tuple(sentence for sentence in found if sentence)


def not_scaled(scaling: Scaling, runtime: Runtime, platform: Platform) -> str:
    """Why there is no autoscaler for a spec that wants one; empty: there is one, or none is wanted."""
    if scaling.most_replicas <= scaling.min_replicas:
        return ""
    least = max(1, scaling.min_replicas)
    if scaling.provider == "KEDA" and (why := not_scaled_by_keda(scaling, platform)):
        return f"{why}; {least} pods run"
    cpu = runtime.resources.requests.cpu or runtime.resources.limits.cpu
    if scaling.target.cpu_utilization is not None and cpu is None:
        return f"scaling.target.cpuUtilization is a share of runtime.resources.requests.cpu: add that; {least} pods run"
    return ""


def not_scaled_by_keda(scaling: Scaling, platform: Platform) -> str:
    """Why KEDA cannot scale by this spec; empty: it can."""
    if platform.keda is None:
        return "scaling.provider: KEDA needs KEDA, and keda.enabled in the operator's chart"
    keda = scaling.keda or Keda()
    if scaling.min_replicas == 0 and keda.wake is None:
        return "scaling.minReplicas: 0 needs scaling.keda.wake, which starts the first server"
    asks = keda.wake is not None or scaling.target.cpu_utilization is None
    if asks and keda.prometheus not in platform.keda:
        return f"scaling.keda.prometheus: the operator's settings know no server {keda.prometheus}"
    return ""


def _keda(scaling: Scaling) -> str:
    asked = scaling.keda is not None and scaling.provider != "KEDA"
    return "scaling.keda has no effect without scaling.provider: KEDA" if asked else ""


def _routing(spec: ModelDeploymentSpec) -> str:
    routing = spec.routing
    if routing.existing_route_ref and routing.headers:
        return "routing.headers: the rules of existingRouteRef are yours, write one with that header there"
    if routing.existing_route_ref:
        return ""
    if routing.parent_refs or not (routing.hostnames or routing.grpc_hostnames or routing.headers):
        return ""
    return "hostnames, grpcHostnames and headers of spec.routing need a gateway: name one in routing.parentRefs"
