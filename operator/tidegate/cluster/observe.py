"""From live objects to what a plan may know: one look, nothing remembered, nothing decided.

Servers are counted by their pods' own readiness, and the traffic split is read off the front Service as it is, not as
it was asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tidegate.api.names import ANNOTATION_ASKED_BY
from tidegate.api.runtime import Accelerator
from tidegate.api.status import ResolutionStatus
from tidegate.cluster.autoscalers import blind, refused
from tidegate.cluster.failures import environment, failure_of_controller, failure_of_pods
from tidegate.cluster.nodes import NO_SIGHT, Sight, lack
from tidegate.cluster.resolution import Work, resolved, still_counts
from tidegate.plan.accelerators import bound, remedy, shortage
from tidegate.plan.commands import asked_by
from tidegate.plan.manifests.children import Seen
from tidegate.plan.manifests.front import routed_by
from tidegate.plan.manifests.identity import (
    ANNOTATION_STABLE,
    DEPLOYMENT,
    JOB,
    LABEL_REVISION,
    SERVICE,
    Kind,
    Owner,
    child_name,
    job_name,
)
from tidegate.plan.observed import Failure, Observed, Resolved, RevisionObserved, RouteObserved
from tidegate.plan.phases import Surge
from tidegate.plan.samples import PodSample

UNREAD = "no server is stopped, the nodes cannot be read now"
JOB_OF_POD = "batch.kubernetes.io/job-name"
Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Look:
    """What there is of one deployment; `obstacles` are objects that the API server did not take, and why."""

    owner: Owner
    deployment: Object
    seen: Seen
    pods: Sequence[Object]
    obstacles: Mapping[tuple[Kind, str], Failure]
    now: datetime
    sight: Sight = NO_SIGHT

    @property
    def uri(self) -> str:
        return str(self.deployment["spec"]["bundle"]["uri"])

    @property
    def proves(self) -> bool:
        """Whether the whole bundle is proved before a running server is touched."""
        asked = (self.deployment["spec"].get("rollout") or {}).get("surge")
        chosen = ((self.deployment.get("status") or {}).get("rollout") or {}).get("surge")
        return asked == Surge.REPLACE or chosen == Surge.PROVE


@dataclass(frozen=True, slots=True)
class Means:
    """What there is to serve a spec with: the image of a bundle that is resolved now; why it cannot be served so."""

    image: str
    unsupported: str = ""


def observed(look: Look, samples: Sequence[PodSample], asked: ResolutionStatus | None, means: Means) -> Observed:
    """The look in a plan's terms."""
    return Observed(
        generation=int(look.deployment["metadata"].get("generation") or 1),
        resolved=_resolved(look, asked, means.image) if asked else None,
        records={name: stored.record for name, stored in look.seen.stored.items()},
        revisions={name: _revision(look, name) for name in _revisions(look)},
        route=route(look),
        obstacle=_beside(look) or blind(scaler(look), look.now) or refused(_scaled_object(look)),
        stable_marker=_annotations(look.seen.front).get(ANNOTATION_STABLE, ""),
        commands=asked_by(_annotations(look.deployment)),
        asked_by=_annotations(look.deployment).get(ANNOTATION_ASKED_BY, ""),
        samples=tuple(samples),
        environment=environment_of(look, means),
        unsupported=means.unsupported,
        exact_weights=False,
        scheduled=True,
    )


def environment_of(look: Look, means: Means) -> str:
    """A text that changes when what was missing may be there: with an edit of `spec.runtime`, or another operator.

    Obstacles are not in it: one of an object that is not wanted any more goes by itself, and that mends nothing.
    """
    runtime = json.dumps([look.deployment["spec"].get("runtime"), means.image, means.unsupported], sort_keys=True)
    return hashlib.sha256(runtime.encode()).hexdigest()[:16]


def scaler(look: Look) -> Object | None:
    """The autoscaler of the stable version, the only one that there is."""
    return next(iter(look.seen.autoscalers.values()), None)


def _scaled_object(look: Look) -> Object | None:
    return next(iter(look.seen.scaled_objects.values()), None)


def _annotations(thing: Object | None) -> Mapping[str, str]:
    return ((thing or {}).get("metadata") or {}).get("annotations") or {}


# -- servers


def pods_of(look: Look, revision: str) -> list[Object]:
    """Pods that serve a revision or will; one that is being removed is neither."""
    return [pod for pod in look.pods if revision_of(pod) == revision and not _leaving(pod)]


def revision_of(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(LABEL_REVISION, ""))


def _leaving(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp")) or (pod.get("status") or {}).get("phase") == "Succeeded"


def is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _revisions(look: Look) -> set[str]:
    return {*look.seen.stored, *look.seen.deployments, *filter(None, map(revision_of, look.pods))}


def _revision(look: Look, revision: str) -> RevisionObserved:
    # Without a Deployment of ours they are of an earlier deployment of this name, and go with it.
    pods = pods_of(look, revision) if revision in look.seen.deployments else []
    waiting = [pod for pod in pods if not is_ready(pod)]
    stored = look.seen.stored.get(revision)
    living = [pod for pod in pods if (pod.get("status") or {}).get("phase") != "Failed"]
    places = [node for pod in living if (node := (pod.get("spec") or {}).get("nodeName"))]
    found = RevisionObserved(
        revision,
        replicas=len(living),
        ready=len(pods) - len(waiting),
        device=str(stored.record.runtime.device) if stored else "",
        failure=_failure(look, revision, waiting),
        placed=len(places),
    )
    wanted = stored.record.runtime.accelerator if stored else None
    return _with_accelerators(found, wanted, (places, waiting), look.sight) if wanted else found


def _with_accelerators(
    found: RevisionObserved, wanted: Accelerator, pods: tuple[Sequence[str], Sequence[Object]], sight: Sight
) -> RevisionObserved:
    """What keeps servers from theirs, and others from what these servers hold."""
    places, waiting = pods
    nodes = sight.nodes
    found = replace(found, bound=UNREAD if sight.trouble else bound(wanted, places, nodes))
    words = lack(wanted, waiting, found.failure)
    if not words:
        return found
    short = shortage(wanted, max(1, found.replicas - found.placed), nodes)
    if found.failure and found.failure.reason == "Unschedulable":
        found = replace(found, failure=environment("GPUUnavailable", f"{short} ({words})", remedy(wanted, nodes)))
    return replace(found, short=short)


def _failure(look: Look, revision: str, waiting: Sequence[Object]) -> Failure | None:
    """Why servers of a revision are missing: the object itself, its pods, or the making of pods."""
    controller = look.seen.deployments.get(revision) or {}
    return (
        look.obstacles.get((DEPLOYMENT, child_name(look.owner, revision)))
        or failure_of_pods(waiting)
        or failure_of_controller((controller.get("status") or {}).get("conditions"))
    )


# -- traffic


def route(look: Look) -> RouteObserved:
    """The split that the front Service makes."""
    name, namespace = look.owner.name, look.owner.namespace
    url = f"http://{name}.{namespace}.svc:8080/v2/models/{name}"
    obstacle = look.obstacles.get((SERVICE, name))
    sharing = routed_by(look.seen.front)
    if obstacle is None:
        return RouteObserved(sharing=sharing, url=url)
    return RouteObserved(sharing=sharing, accepted=False, message=obstacle.message, reason=obstacle.reason, url=url)


def _beside(look: Look) -> Failure | None:
    """What the API server does not take of everything that neither serves nor routes nor reads a bundle."""
    told_elsewhere = (DEPLOYMENT, JOB)
    found = (
        Failure(failure.class_, failure.reason, f"{kind.kind} {name}: {failure.message}")
        for (kind, name), failure in sorted(look.obstacles.items(), key=lambda one: one[0][1])
        if kind not in told_elsewhere and (kind, name) != (SERVICE, look.owner.name)
    )
    return next(found, None)


# -- the bundle


def _resolved(look: Look, asked: ResolutionStatus, image: str) -> Resolved | None:
    name = job_name(look.owner, asked.key, asked.attempt)
    if late := _late(look, asked, image):
        return late
    if refused := look.obstacles.get((JOB, name)):
        return Resolved(asked.key, asked.attempt, failure=refused)
    return resolved(asked, _work(look, name, image), look.now)


def _late(look: Look, asked: ResolutionStatus, image: str) -> Resolved | None:
    """An answer to the attempt before, which was given up while its pod still waited for a Secret, an image or a node.

    So a bundle is read as soon as what was missing is there, and not when the next attempt is due.
    """
    before = _work(look, job_name(look.owner, asked.key, asked.attempt - 1), image)
    if before.job is None or not still_counts(before.job, image, prove=look.proves):
        return None
    answer = resolved(asked, before, look.now)
    return answer if answer and answer.resolution else None


def _work(look: Look, name: str, image: str) -> Work:
    pods = [pod for pod in look.pods if (pod["metadata"].get("labels") or {}).get(JOB_OF_POD) == name]
    return Work(look.seen.jobs.get(name), pods, look.uri, image)


def taken(owner: Owner, there: Object) -> Failure:
    """An object of our name that is not ours: it is never adopted, changed or removed."""
    kind, name = there.get("kind", "object"), there["metadata"]["name"]
    owners = there["metadata"].get("ownerReferences") or ()
    if any(one.get("kind") == "ModelDeployment" and one.get("name") == owner.name for one in owners):
        what = f"{kind} {name} of an earlier {owner.name} is still being removed"
        return environment("Terminating", what, "if this lasts, look at its finalizers")
    what = f"{kind} {name} exists and is not ours"
    return environment("NameTaken", what, "remove it, or name this deployment otherwise")
