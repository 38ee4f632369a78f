"""What the API server refuses for its content: the rules that an object of ours could break."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from .custom import objections as objections_to_deployment
from .fields import Object
from .selectors import label_selector

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]|")
LABEL_KEY = re.compile(r"([a-z0-9][-a-z0-9.]{0,252}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
MOST_ANNOTATIONS = 256 * 2**10
MOST_BYTES = 3 * 2**19
MAX_NAME, MAX_SERVICE_NAME = 253, 63


def objections(obj: Object, old: Object | None) -> list[str]:
    """Why the server does not take `obj`, in the place of `old` if there is one."""
    rules = (_metadata, KINDS.get(obj["kind"], _nothing))
    return [objection for rule in rules for objection in rule(obj, old)]


def _nothing(obj: Object, old: Object | None) -> Iterator[str]:
    yield from ()


def _metadata(obj: Object, old: Object | None) -> Iterator[str]:
    metadata = obj["metadata"]
    if not NAME.fullmatch(metadata["name"]) or len(metadata["name"]) > MAX_NAME:
        yield f"metadata.name: Invalid value: {metadata['name']!r}: a lowercase RFC 1123 subdomain is wanted"
    for name, value in (metadata.get("labels") or {}).items():
        if not LABEL_KEY.fullmatch(name) or not isinstance(value, str) or not LABEL.fullmatch(value):
            yield f"metadata.labels: Invalid value: {name}={value!r}"
    annotations = metadata.get("annotations") or {}
    if not all(isinstance(value, str) for value in annotations.values()):
        yield "metadata.annotations: Invalid value: values must be text"
    elif sum(len(name) + len(value) for name, value in annotations.items()) > MOST_ANNOTATIONS:
        yield "metadata.annotations: Too long: may not be more than 262144 bytes"


def _changed(obj: Object, old: Object | None, *path: str) -> bool:
    return old is not None and _at(obj, path) != _at(old, path)


def _at(obj: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        obj = (obj or {}).get(name)
    return obj


def _deployment(obj: Object, old: Object | None) -> Iterator[str]:
    spec = obj["spec"]
    if _changed(obj, old, "spec", "selector"):
        yield "spec.selector: Invalid value: field is immutable"
    if not label_selector(spec.get("selector"))(spec["template"]["metadata"].get("labels") or {}):
        yield "spec.template.metadata.labels: Invalid value: `selector` does not match template `labels`"
    if spec["replicas"] < 0:
        yield "spec.replicas: Invalid value: must be greater than or equal to 0"
    yield from _pod_spec(spec["template"]["spec"], "Always")


def _job(obj: Object, old: Object | None) -> Iterator[str]:
    if _changed(obj, old, "spec", "template"):
        yield "spec.template: Invalid value: field is immutable"
    if obj["spec"]["template"]["spec"]["restartPolicy"] == "Always":
        yield 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'
    yield from _pod_spec(obj["spec"]["template"]["spec"], "")


def _pod_spec(spec: Object, policy: str) -> Iterator[str]:
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    if policy and spec["restartPolicy"] != policy:
        yield f'spec.template.spec.restartPolicy: Unsupported value: supported values: "{policy}"'
    if not spec.get("containers"):
        yield "spec.template.spec.containers: Required value"
    for container in (*spec.get("initContainers", []), *spec.get("containers", [])):
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield f'volumeMounts.name: Not found: "{mount["name"]}"'


def _service(obj: Object, old: Object | None) -> Iterator[str]:
    if len(obj["metadata"]["name"]) > MAX_SERVICE_NAME:
        yield "metadata.name: Invalid value: must be no more than 63 characters"
    if not obj["spec"].get("ports"):
        yield "spec.ports: Required value"
    if _changed(obj, old, "spec", "clusterIP"):
        yield "spec.clusterIP: Invalid value: may not change once set"


def _revision(obj: Object, old: Object | None) -> Iterator[str]:
    if _changed(obj, old, "data"):
        yield "data: Invalid value: field is immutable"


def _autoscaler(obj: Object, old: Object | None) -> Iterator[str]:
    spec = obj["spec"]
    if spec["maxReplicas"] < max(1, spec["minReplicas"]) or spec["minReplicas"] < 1:
        yield "spec.maxReplicas: Invalid value: must be greater than or equal to `minReplicas`, and that at least 1"


def _model_deployment(obj: Object, old: Object | None) -> Iterator[str]:
    yield from objections_to_deployment(obj)


KINDS: dict[str, Callable[[Object, Object | None], Iterator[str]]] = {
    "Deployment": _deployment,
    "Job": _job,
    "Service": _service,
    "ControllerRevision": _revision,
    "HorizontalPodAutoscaler": _autoscaler,
    "ModelDeployment": _model_deployment,
}
