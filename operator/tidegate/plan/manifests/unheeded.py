"""Fields of a spec that a cluster does not act on yet, so that nobody who sets them believes that it does."""

from __future__ import annotations

from collections.abc import Callable

from tidegate.api.runtime import Runtime
from tidegate.api.scaling import Scaling
from tidegate.api.spec import ModelDeploymentSpec

Look = Callable[[ModelDeploymentSpec], str]


def unheeded(spec: ModelDeploymentSpec) -> tuple[str, ...]:
    """A sentence for each field that is set and has no effect."""
    return tuple(sentence for look in _LOOKS if (sentence := look(spec)))


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


def _auth(spec: ModelDeploymentSpec) -> str:
    given = spec.runtime.auth is not None
    return "runtime.auth has no effect yet: whoever reaches the pods may call the model" if given else ""


def _tls(spec: ModelDeploymentSpec) -> str:
    return "runtime.tls has no effect yet: the pods answer plain HTTP" if spec.runtime.tls else ""


def _provider_options(spec: ModelDeploymentSpec) -> str:
    given = spec.runtime.provider_options
    return "runtime.providerOptions has no effect yet: execution providers keep their defaults" if given else ""


def _decryption(spec: ModelDeploymentSpec) -> str:
    return "bundle.decryption has no effect yet: encrypted bundles are not read" if spec.bundle.decryption else ""


_LOOKS: tuple[Look, ...] = (_auth, _tls, _provider_options, _decryption, _scaling)
