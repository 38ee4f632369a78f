"""Small objects and short words for tests that run against the fake and a real API server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tidegate.cluster.api import Api
from tidegate.cluster.errors import ClusterError
from tidegate.plan.manifests.identity import CONFIG_MAP, DEPLOYMENT, JOB, MODEL_DEPLOYMENT, POD, Kind

from .fields import Object
from .sides import Side

NOBODY = "00000000-0000-4000-8000-00000000dead"  # a uid that no object has


def named(kind: Kind, name: str, side: Side, **metadata: Any) -> Object:
    about = {"name": name, "namespace": side.namespace, **metadata}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": about}


def config(side: Side, name: str = "settings", data: dict[str, str] | None = None, **metadata: Any) -> Object:
    return {**named(CONFIG_MAP, name, side, **metadata), "data": {"a": "1"} if data is None else data}


def deployment(side: Side, name: str = "web", **spec: Any) -> Object:
    containers = [{"name": "server", "image": "registry.example/server:1", "env": [{"name": "A", "value": "1"}]}]
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}
    wanted = {"selector": {"matchLabels": {"app": name}}, "template": template, **spec}
    return {**named(DEPLOYMENT, name, side), "spec": wanted}


def model(side: Side, name: str = "fraud", **spec: Any) -> Object:
    return {**named(MODEL_DEPLOYMENT, name, side), "spec": {"bundle": {"uri": "s3://models/fraud/1"}, **spec}}


def job(side: Side, name: str = "resolve") -> Object:
    containers = [{"name": "resolve", "image": "registry.example/server:1"}]
    return {
        **named(JOB, name, side),
        "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": containers}}},
    }


def pod(side: Side, name: str) -> Object:
    return {
        **named(POD, name, side),
        "spec": {"containers": [{"name": "server", "image": "registry.example/server:1"}]},
    }


def version(obj: Object) -> str:
    return str(obj["metadata"]["resourceVersion"])


def generation(obj: Object) -> int:
    return int(obj["metadata"]["generation"])


def container(obj: Object) -> Object:
    found: Object = obj["spec"]["template"]["spec"]["containers"][0]
    return found


def create(side: Side, obj: Object) -> Object:
    return side.ask(lambda api: api.create(obj))


def apply(side: Side, obj: Object) -> Object:
    return side.ask(lambda api: api.apply(obj))


def put_status(side: Side, obj: Object, **status: Any) -> Object:
    return side.ask(lambda api: api.put_status({**obj, "status": status}))


def live(side: Side, kind: Kind, name: str) -> Object:
    return side.others.get(kind, side.namespace, name)


def refused(side: Side, error: type[ClusterError], work: Callable[[Api], Awaitable[object]]) -> ClusterError:
    with pytest.raises(error) as caught:
        side.ask(work)
    return caught.value
