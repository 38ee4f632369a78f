"""Short words for tests of the fake world itself."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.fakes.fields import Object

from tidegate.plan.manifests.identity import AUTOSCALER, CONFIG_MAP, DEPLOYMENT, JOB, Kind

T = TypeVar("T")
HERE = "default"
URI = "s3://models/fraud/1"
REVISION = {"serving.tidegate.io/revision": "v1"}


def done(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def config(name: str = "settings", value: str = "1", **labels: str) -> Object:
    return {**named(CONFIG_MAP, name, labels), "data": {"a": value}}


def named(kind: Kind, name: str, labels: dict[str, str] | None = None) -> Object:
    metadata: Object = {"name": name, "namespace": HERE, **({"labels": labels} if labels else {})}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}


def servers(replicas: int = 2, name: str = "fraud-v1", uri: str = URI) -> Object:
    """A Deployment that fetches a bundle and serves it."""
    labels = {"app": name, **REVISION}
    spec = {
        "initContainers": [{"name": "fetch", "image": "registry.example/runtime:1", "args": ["fetch", uri]}],
        "containers": [{"name": "server", "image": "registry.example/runtime:1", "args": ["serve"]}],
    }
    template = {"metadata": {"labels": labels}, "spec": spec}
    wanted = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {**named(DEPLOYMENT, name, labels), "spec": wanted}


def resolve(*words: str, name: str = "resolve", **spec: Any) -> Object:
    """A Job that reads a manifest."""
    container = {"name": "resolve", "image": "registry.example/runtime:1", "args": ["resolve", *(words or (URI,))]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {**named(JOB, name), "spec": {"backoffLimit": 0, "template": template, **spec}}


def autoscaler(least: int, most: int, name: str = "fraud-v1") -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return {
        **named(AUTOSCALER, name),
        "spec": {"scaleTargetRef": target, "minReplicas": least, "maxReplicas": most},
    }
