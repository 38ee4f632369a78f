"""Why pods do not come up, in the words and classes that a plan understands.

Kubernetes says it in a dozen places; each function here looks at one of them, and the first that knows something
wins.  What a container of ours has said itself (its termination message) goes before what the kubelet says about it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tidegate.plan.observed import Failure, FailureClass

REFUSED = 1  # exit code of a program of ours that will say the same of these bytes every time
CRASH_LOOP = 3  # restarts that are no accident any more
MESSAGE_LIMIT = 1024
IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"})
CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError"})
# Said with exit code 1, and yet able to pass without a new spec: a secret, a disk or a store may change.
PASSING = frozenset({
    "AddressRefused", "CertificateInvalid", "ClockSkewed", "Denied", "DeviceUnavailable", "DiskFull", "NotFound",
    "OutOfMemory", "PortTaken",
})  # fmt: skip

Status = Mapping[str, Any]
Look = Callable[[Status], Failure | None]


def environment(reason: str, message: str) -> Failure:
    return Failure(FailureClass.ENVIRONMENT, reason, shortened(message))


def failure_of_pods(pods: Iterable[Mapping[str, Any]]) -> Failure | None:
    """Why the latest start failed; what will not pass by itself goes before what may."""
    found = [failure for pod in pods if (failure := failure_of_pod(pod))]
    return min(found, key=lambda failure: failure.class_ is not FailureClass.CONTENT, default=None)


def failure_of_pod(pod: Mapping[str, Any]) -> Failure | None:
    """Why a pod is not ready, as far as it is known."""
    status = pod.get("status") or {}
    looks: tuple[Look, ...] = (_unschedulable, _evicted, _container)
    return next((failure for look in looks if (failure := look(status))), None)


def _unschedulable(status: Status) -> Failure | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return environment("Unschedulable", f"no node takes the pod: {condition.get('message', '')}")
    return None


def _evicted(status: Status) -> Failure | None:
    if status.get("phase") != "Failed" or status.get("reason") not in ("Evicted", "NodeShutdown", "Preempting"):
        return None
    return environment("Evicted", f"the pod was evicted: {status.get('message', '')}")


def _container(status: Status) -> Failure | None:
    for container in containers(status):
        if failure := _waiting(container) or _ended(container):
            return failure
    return None


def containers(status: Status) -> Iterator[Status]:
    """Container statuses, those of the init steps first."""
    for field in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(field) or ()


def _waiting(container: Status) -> Failure | None:
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), str(waiting.get("message", ""))
    if reason in IMAGE:
        return environment("ImagePull", f"the image {container.get('image', '')} cannot be pulled: {message or reason}")
    if reason in CONFIG and "secret" in message:
        return environment("SecretMissing", f"{message}: create it in this namespace")
    if reason in CONFIG:
        return environment("PodConfigInvalid", f"the container cannot be made: {message or reason}")
    return None


def _ended(container: Status) -> Failure | None:
    """How its latest life ended, when it is not running again."""
    state = container.get("state") or {}
    ended = state.get("terminated") or (
        (container.get("lastState") or {}).get("terminated") if _down(container) else None
    )
    if not ended or ended.get("exitCode") == 0:
        return None
    return failure_of_end(ended, int(container.get("restartCount") or 0))


def _down(container: Status) -> bool:
    return not container.get("ready") and "terminated" not in (container.get("state") or {})


def failure_of_end(ended: Status, restarts: int = 0) -> Failure:
    """Why a container ended: its own last words, or what can be said without them."""
    code = int(ended.get("exitCode") or 0)
    if ended.get("reason") == "OOMKilled":
        return environment("OutOfMemory", "the container used more memory than its limit: raise limits.memory")
    if words := last_words(ended.get("message")):
        lasting = code == REFUSED and words[0] not in PASSING
        kind = FailureClass.CONTENT if lasting else FailureClass.ENVIRONMENT
        return Failure(kind, words[0], shortened(words[1]))
    reason = "CrashLoop" if restarts >= CRASH_LOOP else "ServerDied"
    return environment(
        reason, f"the container ended with exit code {code}: {ended.get('message') or 'it said nothing'}"
    )


def last_words(message: object) -> tuple[str, str] | None:
    """Reason and sentence of a termination message of ours."""
    try:
        said = json.loads(str(message))
        return str(said["reason"])[:63], str(said["message"])
    except (ValueError, KeyError, TypeError):
        return None


def failure_of_controller(conditions: Sequence[Mapping[str, Any]] | None) -> Failure | None:
    """Why a Deployment cannot even make pods: quota, admission, a missing account."""
    for condition in conditions or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return refusal(str(condition.get("message", "")))
    return None


def refusal(message: str) -> Failure:
    """Why the API server takes no pod or object of ours, from its sentence."""
    if "exceeded quota" in message:
        return environment("QuotaExceeded", message)
    if any(word in message for word in ("violates PodSecurity", "denied the request", "admission webhook")):
        return environment("AdmissionDenied", message)
    if "serviceaccount" in message and "not found" in message:
        return environment("AccountMissing", message)
    return environment("PodsRefused", message)


def shortened(text: str) -> str:
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"
