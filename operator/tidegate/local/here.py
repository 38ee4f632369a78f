"""What the fields of a manifest mean on one machine where that differs from a cluster.

Fields of pods, gateways and autoscalers have nothing to act on here; they are listed once at the start, so that
nobody waits for what cannot come.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from tidegate.api.spec import ModelDeploymentSpec

# Dotted attribute paths below spec -> what holds instead.
WITHOUT_EFFECT: dict[str, str] = {
    "runtime.image": "servers are the installed tidegate-runtime",
    "runtime.accelerator": "servers see the GPUs of this machine",
    "runtime.resources": "servers share this machine",
    "runtime.pod": "there are no pods",
    "runtime.tls.client_certificates": "the only client of the servers is the proxy in front of them",
    "runtime.cache": "bundles are kept by digest in the cache folder",
    "scaling.max_replicas": "as many servers as minReplicas",
    "scaling.target": "as many servers as minReplicas",
    "scaling.provider": "as many servers as minReplicas",
    "scaling.behavior": "as many servers as minReplicas",
    "scaling.keda": "as many servers as minReplicas",
    "rollout.analysis.source": "counts are read from the servers themselves",
    "rollout.analysis.prometheus": "no Prometheus is asked, and no rollout waits for its answers",
    "routing.provider": "Envoy splits by weight",
    "routing.parent_refs": "the only listener is --port",
    "routing.grpc_hostnames": "requests come over HTTP",
    "routing.existing_route_ref": "the only listener is --port",
    "network_policy": "servers listen on loopback only",
}


def without_effect(spec: ModelDeploymentSpec) -> list[str]:
    """A sentence for each field that was written and does nothing here."""
    return [
        f"spec.{camel(path)} has no effect on one machine: {instead}"
        for path, instead in WITHOUT_EFFECT.items()
        if written(spec, path.split("."))
    ]


def written(part: Any, path: list[str]) -> bool:
    """Whether the manifest says this, as opposed to leaving the default."""
    for name in path:
        if not isinstance(part, BaseModel) or name not in part.model_fields_set:
            return False
        part = getattr(part, name)
    return part is not None


def camel(path: str) -> str:
    return ".".join(
        "".join(word if i == 0 else word.capitalize() for i, word in enumerate(name.split("_")))
        for name in path.split(".")
    )


def fitted(spec: ModelDeploymentSpec, max_processes: int) -> ModelDeploymentSpec:
    """The spec as this machine can meet it: no Prometheus, and minReplicas servers, one to `max_processes` of them."""
    replicas = max(1, min(spec.scaling.min_replicas, max_processes))
    scaling = spec.scaling.model_copy(update={"min_replicas": replicas, "max_replicas": replicas, "provider": "HPA"})
    analysis = spec.rollout.analysis.model_copy(update={"source": "Direct", "prometheus": None})
    rollout = spec.rollout.model_copy(update={"analysis": analysis})
    return spec.model_copy(update={"scaling": scaling, "rollout": rollout})
