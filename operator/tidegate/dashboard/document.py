"""What a page is told of one ModelDeployment: where it stands, in the words of its status, and nothing that it hides.

The status may be of an older or newer operator, and holds more than anybody looks at: the counts that verdicts are made
from are the larger half of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.plan.commands import asked_by, new_commands

Document = dict[str, Any]
STATUS = ("phase", "url", "stable", "candidate", "conditions", "rejected", "history")
ROLLOUT = (
    "cause", "phase", "surge", "surgeMessage", "step", "weight", "previous", "startedAt", "stepStartedAt", "until",
    "promotedStep", "full", "holdReason", "holdMessage", "checks", "measurements",
)  # fmt: skip


def rollout_document(found: Mapping[str, Any]) -> Document:
    """The object as the page knows it; its pods come from elsewhere."""
    meta, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    asked = new_commands(asked_by(meta.get("annotations") or {}), status.get("commands") or {})
    shown: Document = {
        "namespace": meta["namespace"],
        "name": meta["name"],
        "createdAt": meta.get("creationTimestamp", ""),
        "deleting": bool(meta.get("deletionTimestamp")),
        "seen": status.get("observedGeneration") == meta.get("generation"),
        "uri": (spec.get("bundle") or {}).get("uri", ""),
        "steps": (spec.get("rollout") or {}).get("steps") or [],
        "pausedBySpec": bool(spec.get("paused")),
        "paused": bool(status.get("paused")),
        "waiting": {str(verb): value for verb, value in asked.items()},  # plain texts, for JSON
    }
    shown |= {name: status[name] for name in STATUS if status.get(name)}
    if rollout := status.get("rollout"):
        shown["rollout"] = {name: rollout[name] for name in ROLLOUT if name in rollout}
    return shown


def with_pods(document: bytes, pods: list[bytes]) -> bytes:
    """A document in JSON, and in it the documents of its pods: neither is read again for that."""
    return document[:-1] + b',"pods":[' + b",".join(pods) + b"]}"
