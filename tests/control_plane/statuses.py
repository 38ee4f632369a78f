"""What a kubelet writes into the status of a pod, as patches: the words of states, reasons and conditions."""

from __future__ import annotations

import datetime
import hashlib
import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.control_plane.resources import Object

INITIALIZING: Object = {"waiting": {"reason": "PodInitializing"}}


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended."""

    code: int
    message: str = ""
    began: str = field(default_factory=now)
    reason: str = ""

    @property
    def state(self) -> Object:
        usual = "Completed" if self.code == 0 else "OOMKilled" if self.code == 128 + signal.SIGKILL else "Error"
        ended: Object = {"exitCode": self.code, "reason": self.reason or usual, "message": self.message}
        return {"terminated": {**ended, "startedAt": self.began, "finishedAt": now()}}


def exit_code(status: int) -> int:
    """A process's exit status as a container's: death by a signal is 128 and its number."""
    return status if status >= 0 else 128 - status


def waiting(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason, "message": message}}


def running(began: str) -> Object:
    return {"running": {"startedAt": began}}


def container(spec: Mapping[str, Any], state: Object, *, ready: bool = False, restarts: int = 0,
              last: Ended | None = None) -> Object:  # fmt: skip
    """One row of containerStatuses."""
    image = str(spec["image"])
    return {
        "name": spec["name"],
        "image": image,
        "imageID": "" if "waiting" in state and last is None else pulled(image),
        "state": state,
        "ready": ready,
        "started": "running" in state,
        "restartCount": restarts,
        "lastState": last.state if last else {},
    }


def pulled(image: str) -> str:
    """The image by a digest, as a node says it; always the same one for a name."""
    if "@sha256:" in image:
        return image
    return f"{re.sub(r':[^:/]*$', '', image)}@sha256:{hashlib.sha256(image.encode()).hexdigest()}"


def conditions(*, initialized: bool, ready: bool, reason: str = "ContainersNotReady") -> list[Object]:
    """The conditions a kubelet keeps; merged by type into those that are there."""
    at = now()
    holds = {"PodReadyToStartContainers": True, "Initialized": initialized, "ContainersReady": ready, "Ready": ready}
    return [
        {"type": name, "status": str(is_so), "lastTransitionTime": at, "reason": None if is_so else reason}
        for name, is_so in holds.items()
    ]


def status(phase: str, conditions: Iterable[Object], first: Iterable[Object], main: Iterable[Object]) -> Object:
    return {
        "phase": phase,
        "conditions": list(conditions),
        "initContainerStatuses": list(first),
        "containerStatuses": list(main),
    }
