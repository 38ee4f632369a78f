"""What the API server adds to an object and how it rewrites it, of the kinds that Tidegate makes.

These are the changes that a careless comparison takes for drift: defaults, quantities in their canonical form, empty
values that are not kept.  tests/contract holds each of them against a real server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from .fields import Object, Path

# Fields that a server leaves out when they are empty, false or zero.
LEFT_OUT = frozenset(
    {
        "labels", "annotations", "matchLabels", "nodeSelector", "limits", "requests", "data", "selector",
        "readOnly", "hostNetwork", "hostPID", "hostIPC", "stdin", "stdinOnce", "tty", "minReadySeconds", "paused",
        "publishNotReadyAddresses", "subPath", "workingDir", "priorityClassName", "serviceAccountName", "nodeName",
    }
)  # fmt: skip
RAW = ("data", "binaryData")
KEPT_AS_WRITTEN = frozenset({"ConfigMap", "ControllerRevision", "Secret"})
QUANTITY_MAPS = frozenset({"limits", "requests", "capacity"})
QUANTITIES = frozenset({"sizeLimit", "averageValue", "divisor"})
DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
JOB_LABELS = ("batch.kubernetes.io/controller-uid", "controller-uid", "batch.kubernetes.io/job-name", "job-name")
NUMBER = re.compile(r"([+-]?[0-9.]+)([eE][+-]?[0-9]+|[a-zA-Z]*)")


def canonical(quantity: Any) -> str:
    """A quantity as the server writes it: "0.5" is "500m", "1024Mi" is "1Gi"."""
    text = str(quantity)
    found = NUMBER.fullmatch(text)
    if found is None:
        return text
    number, suffix = Decimal(found[1]), found[2]
    if suffix in BINARY:
        return _binary(int(number * 1024 ** BINARY[suffix]), text)
    power = int(suffix[1:]) if suffix not in DECIMAL else DECIMAL[suffix]
    return _decimal(number.scaleb(power))


def _binary(size: int, text: str) -> str:
    for suffix, power in reversed(BINARY.items()):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{suffix}"
    return str(size) if size else "0"


def _decimal(number: Decimal) -> str:
    for suffix, power in reversed(DECIMAL.items()):
        scaled = number.scaleb(-power)
        if number and scaled == scaled.to_integral_value():
            return f"{int(scaled)}{suffix}"
    return "0"


def tidied(value: Any, name: str = "") -> Any:
    """The value as a typed object gives it back: without nulls and empty lists, quantities canonical."""
    if isinstance(value, dict):
        if name in QUANTITY_MAPS:
            return {key: canonical(inner) for key, inner in value.items()}
        inner = {key: tidied(part, key) for key, part in value.items() if not _left_out(key, part)}
        return {key: part for key, part in inner.items() if part != {} or key not in LEFT_OUT}
    if isinstance(value, list):
        return [_item(tidied(part, name), name) for part in value]
    return canonical(value) if name in QUANTITIES and isinstance(value, int | str) else value


def _left_out(name: str, value: Any) -> bool:
    return value is None or value == [] or (name in LEFT_OUT and not value)


def _item(item: Any, name: str) -> Any:
    if name == "env" and item.get("value") == "":
        return {key: part for key, part in item.items() if key != "value"}
    return item


# -- kinds ------------------------------------------------------------------------------------------


def with_defaults(obj: Object) -> Object:
    """A stored object, as the server completes it; custom resources have their own (custom.py)."""
    raw = {name: obj[name] for name in RAW if obj["kind"] in KEPT_AS_WRITTEN and obj.get(name)}
    raw |= {"status": obj["status"]} if "status" in obj else {}
    made: Object = tidied({name: part for name, part in obj.items() if name not in raw}) | raw
    if change := KINDS.get(obj["kind"]):
        change(made.setdefault("spec", {}), made)
    return made


def _deployment(spec: Object, obj: Object) -> None:
    for name, value in (("replicas", 1), ("revisionHistoryLimit", 10), ("progressDeadlineSeconds", 600)):
        spec.setdefault(name, value)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxSurge", "25%")
        rolling.setdefault("maxUnavailable", "25%")
    _template(spec)


def _job(spec: Object, obj: Object) -> None:
    defaults = {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "suspend": False,
        "manualSelector": False,
        "podReplacementPolicy": "TerminatingOrFailed",
    }
    for name, value in defaults.items():
        spec.setdefault(name, value)
    if uid := obj["metadata"].get("uid"):
        _job_labels(spec, obj["metadata"]["name"], uid)
    _template(spec)


def _job_labels(spec: Object, name: str, uid: str) -> None:
    spec.setdefault("selector", {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}})
    labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    labels |= dict(zip(JOB_LABELS, (uid, uid, name, name), strict=True))


def generated(obj: Object) -> frozenset[Path]:
    """What the server chooses itself for a new object, after it has noted who owns the fields."""
    if obj["kind"] == "Service":
        return frozenset(
            ("f:spec", f"f:{name}") for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
        )
    if obj["kind"] == "Job":
        labels = ("f:spec", "f:template", "f:metadata", "f:labels")
        return frozenset([("f:spec", "f:selector"), *((*labels, f"f:{name}") for name in JOB_LABELS)])
    return frozenset()


def _template(spec: Object) -> None:
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    pod_spec(template.setdefault("spec", {}))


def _service(spec: Object, obj: Object) -> None:
    defaults: Object = {
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
    }
    for name, value in defaults.items():
        spec.setdefault(name, value)
    for port in spec.get("ports", []):
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port["port"])


SCALE_UP = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
SCALE_DOWN = {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}


def _autoscaler(spec: Object, obj: Object) -> None:
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        spec["metrics"] = [CPU]
    if behavior := spec.get("behavior"):
        behavior["scaleUp"] = SCALE_UP | behavior.get("scaleUp", {})
        behavior["scaleDown"] = SCALE_DOWN | behavior.get("scaleDown", {})


def _budget(spec: Object, obj: Object) -> None:
    """Nothing of its spec has a default."""


def _pod(spec: Object, obj: Object) -> None:
    pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for container in _containers(spec):
        resources = container["resources"]
        if limits := resources.get("limits"):
            resources["requests"] = limits | resources.get("requests", {})
    claims = any(container["resources"] for container in _containers(spec))
    obj["status"] = {**obj.get("status", {}), "qosClass": "Burstable" if claims else "BestEffort"}


KINDS: dict[str, Callable[[Object, Object], None]] = {
    "Deployment": _deployment,
    "Job": _job,
    "Service": _service,
    "HorizontalPodAutoscaler": _autoscaler,
    "PodDisruptionBudget": _budget,
    "Pod": _pod,
}


# -- pods -------------------------------------------------------------------------------------------


def pod_spec(spec: Object) -> None:
    """The defaults of a pod that a template has too."""
    defaults: Object = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "securityContext": {},
    }
    for name, value in defaults.items():
        spec.setdefault(name, value)
    if account := spec.get("serviceAccountName"):
        spec.setdefault("serviceAccount", account)
    for container in _containers(spec):
        _container(container)
    for volume in spec.get("volumes", []):
        _volume(volume)


def _containers(spec: Object) -> Iterator[Object]:
    yield from spec.get("initContainers", [])
    yield from spec.get("containers", [])


def _container(container: Object) -> None:
    tag = container.get("image", "").rpartition("/")[2].partition(":")[2]
    pinned = "@" in container.get("image", "") or tag not in ("", "latest")
    container.setdefault("imagePullPolicy", "IfNotPresent" if pinned else "Always")
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("resources", {})
    for port in container.get("ports", []):
        port.setdefault("protocol", "TCP")
    for variable in container.get("env", []):
        if field := variable.get("valueFrom", {}).get("fieldRef"):
            field.setdefault("apiVersion", "v1")
        if resource := variable.get("valueFrom", {}).get("resourceFieldRef"):
            resource.setdefault("divisor", "0")
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        if probe := container.get(name):
            _probe(probe)


def _probe(probe: Object) -> None:
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        probe.setdefault(name, value)
    if get := probe.get("httpGet"):
        get.setdefault("scheme", "HTTP")
        get.setdefault("path", "/")


def _volume(volume: Object) -> None:
    for name in ("configMap", "secret", "projected", "downwardAPI"):
        if source := volume.get(name):
            source.setdefault("defaultMode", 0o644)
    for source in (volume.get("projected") or {}).get("sources", []):
        if token := source.get("serviceAccountToken"):
            token.setdefault("expirationSeconds", 3600)
