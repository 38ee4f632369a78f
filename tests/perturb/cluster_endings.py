"""What a story comes to: every object as text, without what only tells when and how often something was tried."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.fakes.fields import Object

from tidegate.plan.manifests.identity import ANNOTATION_TEMPLATE, CHILD_KINDS, JOB, MODEL_DEPLOYMENT

from .cluster_reading import all_of
from .cluster_stage import HERE, Stage

Ending = dict[str, Any]
TIME = re.compile(r"\d{4}-\d{2}-\d{2}T[0-9:.]+(Z|\+00:00)?")
NUMBER = re.compile(r"\d[\d,]*(\.\d+)?")
UID = re.compile(r"00000000-0000-4000-8000-\d{12}")
OF_THE_SERVER = ("uid", "resourceVersion", "managedFields", "generation", "creationTimestamp")
COUNTS = (
    "observedGeneration", "decisions", "attempts", "attempt", "retryAt", "environment", "at", "lastTransitionTime",
    "clusterIP", "clusterIPs", ANNOTATION_TEMPLATE,
)  # fmt: skip
TOLD_BY_CONTROLLERS = ("HorizontalPodAutoscaler", "PodDisruptionBudget", "Deployment")


def ending(stage: Stage) -> Ending:
    """By kind and name; Jobs are only there until they are removed."""
    kinds = (*(kind for kind in CHILD_KINDS if kind != JOB), MODEL_DEPLOYMENT)
    found = {
        f"{kind.kind} {obj['metadata']['name']}": plain(obj)
        for kind in kinds
        for obj in all_of(stage.cluster, kind, HERE)
    }
    return found | {"servers": dict(stage.servers)}


def plain(obj: Object) -> Any:
    metadata = {name: value for name, value in obj["metadata"].items() if name not in OF_THE_SERVER}
    kept = {name: value for name, value in obj.items() if name != "metadata"}
    if obj["kind"] in TOLD_BY_CONTROLLERS:
        kept.pop("status", None)
    if obj["kind"] == "ControllerRevision":  # with the record lost, the template is that of the running Deployment
        kept["data"] = {"record": json.loads(obj["data"]["record"]), "secret": obj["data"]["secret"]}
    return masked({**kept, "metadata": metadata})


def masked(part: Any, name: str = "") -> Any:
    """Without what was tried in vain and passed; figures in sentences are as they happened to be."""
    if isinstance(part, dict):
        return {key: masked(value, key) for key, value in part.items() if key not in COUNTS}
    if isinstance(part, list):
        kept = part if name != "rejected" else [item for item in part if item["class"] != "Environment"]
        return [masked(item) for item in kept]
    if name == "message":
        return NUMBER.sub("N", str(part))
    return UID.sub("UID", TIME.sub("TIME", part)) if isinstance(part, str) else part


def outcome(stage: Stage) -> dict[str, Any]:
    """What a user asks for at the end: who serves, how many, and what is said of it."""
    truths = {name: stage.truth(name) for name in ("Ready", "Promoted", "Stalled", "Reconciling")}
    return {
        "phase": stage.phase,
        "stable": stage.stable,
        "split": dict(stage.split),
        "servers": dict(stage.servers),
        **truths,
    }
