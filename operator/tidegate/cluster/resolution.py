"""What a resolve Job found out: from its pod's termination message to the answer that a plan waits for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tidegate.api.status import ResolutionStatus
from tidegate.bundle.manifest import Interface, TensorSpec
from tidegate.cluster.failures import containers, environment, failure_of_end, failure_of_pod
from tidegate.plan.observed import Failure, FailureClass, Resolution, Resolved

VERSION = "tidegate.io/resolution/v1"
ROOM_WITHIN = timedelta(minutes=1)  # a scheduler changes its mind, a volume is bound, a node is added
PODS_WITHIN = timedelta(seconds=9)  # usually a fraction of one; a plan that waits looks again after ten
WORDS_WITHIN = timedelta(seconds=30)  # pods and Jobs are watched apart: a Job's end may be seen before its pod's
Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """A resolve Job and its pods, for the address in the spec; `image` is what servers of the bundle will run."""

    job: Object | None
    pods: Sequence[Object]
    uri: str
    image: str


def resolved(asked: ResolutionStatus, work: Work, now: datetime) -> Resolved | None:
    """The answer to what was asked, None while there is none yet."""
    found = _from_pods(work, now) or (_from_job(work, now) if work.job else None)
    if found is None:
        return None
    failure = found if isinstance(found, Failure) else None
    return Resolved(asked.key, asked.attempt, None if isinstance(found, Failure) else found, failure)


def _from_pods(work: Work, now: datetime) -> Resolution | Failure | None:
    for pod in work.pods:
        for container in containers(pod.get("status") or {}):
            ended = (container.get("state") or {}).get("terminated")
            if ended and ended.get("exitCode") == 0:
                return read(ended.get("message"), work.uri, pinned(work.image, str(container.get("imageID") or "")))
            if ended:
                return failure_of_end(ended)
        failure = failure_of_pod(pod)
        if failure and not (failure.reason == "Unschedulable" and _is_young(pod, now)):
            return failure
    return None


def _is_young(made: Object, now: datetime, least: timedelta = ROOM_WITHIN) -> bool:
    return _is_within(made["metadata"].get("creationTimestamp"), now, least)


def _is_within(at: str | None, now: datetime, least: timedelta) -> bool:
    return at is not None and now - datetime.fromisoformat(at) < least


def _from_job(work: Work, now: datetime) -> Failure | None:
    """A Job without a pod that says why it failed: its deadline, or pods that are never made."""
    job = work.job or {}
    status, name = job.get("status") or {}, job["metadata"]["name"]
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Failed" and condition.get("status") == "True":
            in_time = condition.get("reason") != "DeadlineExceeded"
            if in_time and _is_within(condition.get("lastTransitionTime"), now, WORDS_WITHIN):
                return None
            reason = "ResolveFailed" if in_time else "ResolveTimeout"
            what = f"the bundle could not be read: {condition.get('message', '')}"
            return environment(reason, what, f"kubectl describe job {name} shows what its pod waited for")
    counted = work.pods or any(status.get(count) for count in ("active", "succeeded", "failed"))
    if counted or _is_young(job, now, PODS_WITHIN):
        return None
    # Whoever refuses them says it to the Job's controller, which tells it in an event and nowhere else.
    do = f"kubectl describe job {name} says why, often a quota or an admission rule"
    return environment("PodsRefused", "no pod is made that could read the bundle", do)


def still_counts(job: Object, image: str, *, prove: bool) -> bool:
    """Whether what an earlier attempt says now is an answer to what is asked now."""
    container = job["spec"]["template"]["spec"]["containers"][0]
    return bool(container["image"] == image and (container["args"][0] == "prove" or not prove))


def read(message: object, uri: str, image: str) -> Resolution | Failure:
    """A resolution as `tidegate-runtime resolve` tells it; in the pod the address may be that of a mounted claim."""
    try:
        said = json.loads(str(message))
        if said["apiVersion"] != VERSION:
            raise ValueError(said["apiVersion"])
        if omitted := set(said.get("omitted") or ()) - {"labels"}:
            return _too_large(sorted(omitted))
        return Resolution(
            uri=uri,
            digest=str(said["digest"]),
            version=str(said["version"]),
            interface=interface(said["interface"]),
            has_golden=bool(said["golden"]),
            metrics={str(name): float(value) for name, value in said["metrics"].items()},
            # Too many to be told: their digest stands for them, which sees every change of theirs.
            labels=tuple(map(str, said["labels"] if "labels" in said else [said["labelsDigest"]])),
            image=image,
            plain_bytes=int(said.get("plainBytes", 0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        what = "the resolve Job's answer is not one that this operator understands"
        return environment("ResolveFailed", what, "use a runtime image of the operator's own version")


def _too_large(omitted: Sequence[str]) -> Failure:
    what = ", ".join(omitted)
    message = f"{what} of the bundle do not fit the 4 KiB in which a Job answers: shorten the names"
    return Failure(FailureClass.CONTENT, "TooLarge", message)


def interface(said: Mapping[str, Any]) -> Interface:
    return Interface(tuple(map(_tensor, said["inputs"])), tuple(map(_tensor, said["outputs"])))


def _tensor(said: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(str(said["name"]), str(said["type"]), tuple(said["shape"]), optional=bool(said.get("optional")))


def pinned(image: str, image_id: str) -> str:
    """The image by the digest that the node has pulled; as it was named where the node does not say."""
    repository, at, digest = image_id.removeprefix("docker-pullable://").rpartition("@sha256:")
    return f"{repository}@sha256:{digest}" if at and repository else image
