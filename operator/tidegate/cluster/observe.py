"""From live objects to what a plan may know: one look, nothing remembered, nothing decided.

Servers are counted by their pods' own readiness, and the traffic split is read off the front Service or the routes as
they are, not as they were asked for.
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
from tidegate.cluster.devices import unhealthy
from tidegate.cluster.failures import environment, failure_of_controller, failure_of_pods, is_over
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
    ROUTE_KINDS,
    SERVICE,
    Kind,
    Owner,
    child_name,
    job_name,
    route_name,
)
from tidegate.plan.manifests.parents import objection
from tidegate.plan.manifests.routes import reached_by, weights_in
from tidegate.plan.manifests.shared import shared_weights
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
    routes: tuple[Kind, ...] = ()  # that split the requests; none: the front does, by pods
    trouble: Failure | None = None  # why those routes are of no use, where nothing in them says so
    timeouts: bool = False  # whether all of their gateways heed those
    pending: bool = False  # their gateways have had no time yet to say anything of the latest change

    def live(self, kind: Kind) -> Object | None:
        """The route of a kind that is there: somebody else's where the spec names one."""
        return self.seen.shared if self.shares else self.seen.routes.get(kind)

    @property
    def shares(self) -> bool:
        return bool((self.deployment["spec"].get("routing") or {}).get("existingRouteRef"))

    @property
    def uri(self) -> str:
        return str(self.deployment["spec"]["bundle"]["uri"])

    @property
    def proves(self) -> bool:
        """Whether a proof of the whole bundle is asked for now; what may be encrypted is read before."""
        spec = self.deployment["spec"]
        at_once = (spec.get("rollout") or {}).get("surge") == Surge.REPLACE and not spec["bundle"].get("decryption")
        chosen = ((self.deployment.get("status") or {}).get("rollout") or {}).get("surge")
        return at_once or chosen == Surge.PROVE


def observed(look: Look, samples: Sequence[PodSample], asked: ResolutionStatus | None, image: str) -> Observed:
    """The look in a plan's terms; `image` is that of a bundle that is resolved now."""
    return Observed(
        generation=int(look.deployment["metadata"].get("generation") or 1),
        resolved=_resolved(look, asked, image) if asked else None,
        records={name: stored.record for name, stored in look.seen.stored.items()},
        revisions={name: _revision(look, name) for name in _revisions(look)},
        route=route(look),
        obstacle=_beside(look) or unhealthy(_living(look)) or _unscaled(look),
        stable_marker=_annotations(look.seen.front).get(ANNOTATION_STABLE, ""),
        commands=asked_by(_annotations(look.deployment)),
        asked_by=_annotations(look.deployment).get(ANNOTATION_ASKED_BY, ""),
        samples=tuple(samples),
        environment=environment_of(look, image),
        exact_weights=bool(look.routes),
        scheduled=True,
    )


def environment_of(look: Look, image: str) -> str:
    """A text that changes when what was missing may be there: with an edit of `spec.runtime`, or another operator.

    Obstacles are not in it: one of an object that is not wanted any more goes by itself, and that mends nothing.
    """
    runtime = json.dumps([look.deployment["spec"].get("runtime"), image], sort_keys=True)
    return hashlib.sha256(runtime.encode()).hexdigest()[:16]


def scaler(look: Look) -> Object | None:
    """The autoscaler of the stable version, the only one that there is."""
    return next(iter(look.seen.autoscalers.values()), None)


def _unscaled(look: Look) -> Failure | None:
    scaled_object = next(iter(look.seen.scaled_objects.values()), None)
    return blind(scaler(look), look.now) or refused(scaled_object)


def _annotations(thing: Object | None) -> Mapping[str, str]:
    return ((thing or {}).get("metadata") or {}).get("annotations") or {}


# -- servers


def pods_of(look: Look, revision: str) -> list[Object]:
    """Pods that serve a revision or will; one that is being removed is neither."""
    return [pod for pod in look.pods if revision_of(pod) == revision and not _leaving(pod)]


def _living(look: Look) -> list[Object]:
    """Servers of all revisions that hold what they were given."""
    pods = (pod for pod in look.pods if revision_of(pod) and not _leaving(pod))
    return [pod for pod in pods if not is_over(pod)]


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
    living = [pod for pod in pods if not is_over(pod)]
    places = [node for pod in living if (node := (pod.get("spec") or {}).get("nodeName"))]
    ready = len(pods) - len(waiting)
    found = RevisionObserved(
        revision,
        replicas=len(living),
        ready=min(ready, reachable(look, revision)) if look.routes else ready,
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


def led_to(endpoints: Sequence[Object]) -> dict[str, frozenset[str]]:
    """The pods that each Service leads to, by its EndpointSlices."""
    found: dict[str, set[str]] = {}
    for one in endpoints:
        found.setdefault(one["service"], set()).update(one["ready"])
    return {service: frozenset(pods) for service, pods in found.items()}


def reachable(look: Look, revision: str) -> int:
    """Servers of a revision that its Service leads to.

    A gateway sends requests to these and not to pods: where it knows of none yet, it answers 503 for their share.
    """
    return len(look.seen.endpoints.get(child_name(look.owner, revision), ()))


def route(look: Look) -> RouteObserved:
    """The split in effect: by the front's selector, or by the weights of routes that their gateways have taken."""
    name, namespace = look.owner.name, look.owner.namespace
    url = f"http://{name}.{namespace}.svc:8080/v2/models/{name}"
    live = look.seen.routes
    sharing = routed_by(look.seen.front).union(*(reached_by(look.owner, one) for one in live.values()))
    weights = [weights_in(look.owner, live[kind]) for kind in look.routes if kind in live]
    if look.routes and look.shares:
        weights = [shared_weights(look.owner, look.seen)]
    found = RouteObserved(weights[0] if weights else {}, sharing=sharing, url=url)
    if problem := _untaken(look) or _unlike(look, weights) or look.trouble or _unaccepted(look):
        return replace(found, accepted=False, message=problem.message, reason=problem.reason, pending=look.pending)
    return found


def _untaken(look: Look) -> Failure | None:
    """What the API server does not take of everything that routes."""
    places = [(SERVICE, look.owner.name), *((kind, route_name(look.owner, kind)) for kind in ROUTE_KINDS)]
    return next((failure for place in places if (failure := look.obstacles.get(place))), None)


def _unlike(look: Look, weights: Sequence[Mapping[str, int]]) -> Failure | None:
    if all(one == weights[0] for one in weights):
        return None
    names = " and ".join(f"{kind.kind} {route_name(look.owner, kind)}" for kind in look.routes)
    return environment("RouteNotReady", f"{names} give different weights yet")


def _unaccepted(look: Look) -> Failure | None:
    """What a gateway says against a route, in its own words."""
    for kind in look.routes:
        live = look.live(kind)
        if live is not None and (against := objection(live)):
            return environment(
                "RouteNotReady", f"{kind.kind} {live['metadata']['name']}: {against.parent}: {against.message}"
            )
    return None


def _beside(look: Look) -> Failure | None:
    """What the API server does not take of everything that neither serves nor routes nor reads a bundle."""
    told_elsewhere = (DEPLOYMENT, JOB, *ROUTE_KINDS)
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
