"""The documents of `external.metrics.k8s.io/v1beta1`: discovery, values, and Status objects that say what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"
GROUP_VERSION = f"{GROUP}/{VERSION}"
LIST = "ExternalMetricValueList"
MODEL, REVISION = "model", "revision"  # as the servers name them in their own series
MOST_TEXT = 253
REQUIREMENT = re.compile(r"([^=!<>(),\s]+)\s*==?\s*([^=!<>(),\s]+)")
REASONS: Mapping[int, str] = {
    400: "BadRequest", 401: "Unauthorized", 404: "NotFound", 405: "MethodNotAllowed", 429: "TooManyRequests",
    500: "InternalError", 503: "ServiceUnavailable",
}  # fmt: skip

Document = dict[str, Any]


class Problem(Exception):
    """An answer that is a Status: an HTTP code, a sentence, and when to ask again, in seconds."""

    def __init__(self, code: int, message: str, again: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.again = again


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose load is asked for; no revision: of all of its servers."""

    deployment: str
    revision: str = ""

    @property
    def labels(self) -> dict[str, str]:
        found = {MODEL: self.deployment, REVISION: self.revision}
        return {name: value for name, value in found.items() if value}


def subject_of(selector: str) -> Subject:
    """The deployment that a label selector names; raises Problem with what to write instead."""
    found: dict[str, str] = {}
    for part in selector.split(",") if selector else ():
        match = REQUIREMENT.fullmatch(part.strip())
        if match is None or match[1] not in (MODEL, REVISION):
            raise Problem(400, f"{part.strip()[:MOST_TEXT]!r} is none of {MODEL}=NAME and {REVISION}=REVISION")
        found[match[1]] = match[2]
    if MODEL not in found:
        raise Problem(400, f"which ModelDeployment? Write labelSelector={MODEL}=NAME")
    return Subject(found[MODEL], found.get(REVISION, ""))


def values(metric: str, subject: Subject, value: float, at: datetime, seconds: float) -> Document:
    """The one value that a metric has for a subject, as the mean of that many seconds."""
    item = {
        "metricName": metric,
        "metricLabels": subject.labels,
        "timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "window": max(1, round(seconds)),
        "value": f"{round(1000 * value)}m",
    }
    return {"kind": LIST, "apiVersion": GROUP_VERSION, "metadata": {}, "items": [item]}


def status(problem: Problem) -> Document:
    found: Document = {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": problem.code,
        "reason": REASONS[problem.code], "message": problem.message,
    }  # fmt: skip
    return {**found, "details": {"retryAfterSeconds": problem.again}} if problem.again else found


def resources(metrics: Iterable[str]) -> Document:
    """What there is, for `kubectl api-resources` and everybody who lists all of a cluster's kinds."""
    rows = [{"name": name, "singularName": "", "namespaced": True, "kind": LIST, "verbs": ["get"]} for name in metrics]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": rows}


def group() -> Document:
    version = {"groupVersion": GROUP_VERSION, "version": VERSION}
    return {"kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": [version], "preferredVersion": version}
