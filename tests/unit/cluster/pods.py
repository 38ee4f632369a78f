"""Pods as a kubelet reports them, for tests of what is made of it."""

from __future__ import annotations

import json
from typing import Any

Object = dict[str, Any]
DIGEST = "sha256:" + "1" * 64
# What a resolve Job says of a sound bundle.
FOUND = {
    "apiVersion": "tidegate.io/resolution/v1",
    "uri": "s3://models/fraud/1",
    "digest": DIGEST,
    "version": "1.4.0",
    "golden": 3,
    "metrics": {"accuracy": 0.9},
    "labels": ["a", "b"],
    "interface": {
        "inputs": [{"name": "x", "type": "FP32", "shape": ["batch", 4]}],
        "outputs": [{"name": "y", "type": "FP32", "shape": ["batch", 2], "optional": True}],
    },
}


def pod(*, containers: list[Object] | None = None, init: list[Object] | None = None, **status: Any) -> Object:
    """A pod of deployment `fraud`; `status` is added to its status."""
    return {
        "metadata": {
            "name": "fraud-aaaaaaaaaa-x",
            "namespace": "payments",
            "uid": "pod-1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"serving.tidegate.io/deployment": "fraud", "serving.tidegate.io/revision": "aaaaaaaaaa"},
        },
        "status": {
            "phase": "Pending",
            "initContainerStatuses": init or [],
            "containerStatuses": containers or [],
            **status,
        },
    }


def ready_pod(revision: str = "aaaaaaaaaa", name: str = "ready") -> Object:
    found = pod(phase="Running", podIP="10.0.0.7", conditions=[{"type": "Ready", "status": "True"}])
    found["metadata"] |= {"name": name, "uid": name}
    found["metadata"]["labels"]["serving.tidegate.io/revision"] = revision
    return found


def waiting(reason: str, message: str = "", **about: Any) -> Object:
    """A container that cannot start."""
    return {"name": "serve", "image": "registry.example.com/r:1", "ready": False, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": message}}, **about}  # fmt: skip


def ended(code: int, *, reason: str = "Error", words: Object | None = None, restarts: int = 0) -> Object:
    """A container that ended and waits to be started again."""
    terminated = {"exitCode": code, "reason": reason}
    if words is not None:
        terminated["message"] = json.dumps(words)
    found = waiting("CrashLoopBackOff", "back-off restarting", restartCount=restarts)
    return {**found, "lastState": {"terminated": terminated}}


def finished(code: int, words: Object, image_id: str = "") -> Object:
    """A container of a Job that has ended for good."""
    terminated = {"exitCode": code, "message": json.dumps(words)}
    return {"name": "resolve", "image": "r:1", "imageID": image_id, "ready": False, "state": {"terminated": terminated}}
