"""The Services: one in front, named like the deployment, and one per revision.

The front's selector splits the traffic.  It names one revision while that has all of it, and every server of the
deployment while two share: each then gets as much as it has ready pods, and a step changes nothing here.  Where a
gateway splits them (routes.py) it names one revision all the time: the stable one.  Annotations keep the stable
revision and those that get requests; they are written in the same apply as the selector and survive the loss of the
status.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tidegate.plan.history import PROMOTED
from tidegate.plan.manifests.identity import (
    ANNOTATION_ROUTED,
    ANNOTATION_STABLE,
    LABEL_COMPONENT,
    LABEL_DEPLOYMENT,
    LABEL_REVISION,
    NOBODY,
    SERVER,
    SERVICE,
    Object,
    Owner,
    child_name,
    head,
    metadata,
    pods_of,
)
from tidegate.plan.manifests.pods import GRPC_PORT, HTTP_PORT
from tidegate.plan.phases import Surge
from tidegate.plan.replicas import FULL
from tidegate.plan.wanted import Plan


def wanted_front(owner: Owner, plan: Plan, live: Object | None) -> dict[str, Any] | None:
    """The front that a plan stands for; None while there is none, or where the one that is there is to stay.

    A plan without weights has either not got its first version ready, and then nothing is routed, or it has lost all
    memory of a version that serves (status and records): that one goes on serving until the next has weight.

    A front is made with the name of the first version, which is stable a moment later: one write less for each
    deployment.  Where it fails after all, its name goes with its requests.
    """
    known = _annotation(live, ANNOTATION_STABLE)
    if plan.weights:
        stable = plan.stable or known or next(iter(plan.weights))
        return front_service(owner, plan.weights, stable, tls=_speaks_tls(plan))
    if live is None or (known and not _has_failed(plan, known)):
        return None
    return front_service(owner, {}, "")


def undivided(plan: Plan) -> Plan:
    """The plan as the front is to see it where a gateway splits the requests.

    Whoever calls the Service itself gets the stable version, until another one is: a rollout writes the front once.
    Where the stable version may have no server left, the candidate has the front as soon as it has everything.
    """
    rollout, full = plan.status.rollout, next((one for one, weight in plan.weights.items() if weight == FULL), "")
    emptied = rollout is not None and (rollout.stable_lost or rollout.surge == Surge.REPLACE)
    whole = (emptied and full) or plan.stable or full
    return replace(plan, weights={whole: FULL} if whole else {})


def _speaks_tls(plan: Plan) -> bool:
    """Whether servers that get requests do. Where only some do, during a rollout, no one word is right for all."""
    return any(one.record.runtime.tls and plan.weights.get(one.record.revision) for one in plan.revisions)


def _has_failed(plan: Plan, first: str) -> bool:
    """Whether the plan remembers of a version that it never became stable."""
    status = plan.status
    tried = {entry.revision for entry in status.history if entry.outcome != PROMOTED}
    tried |= {status.candidate.revision} if status.candidate else set()
    return status.stable is None and first in tried


def front_service(owner: Owner, weights: Mapping[str, int], stable: str, *, tls: bool = False) -> dict[str, Any]:
    routed = sorted(revision for revision, weight in weights.items() if weight)
    # Both always, if only empty: what another way of writing has set, an apply that leaves it out does not take away.
    annotations = {ANNOTATION_ROUTED: ",".join(routed), ANNOTATION_STABLE: stable}
    meta = {**metadata(owner, owner.name), "annotations": annotations}
    return {**head(SERVICE, meta), "spec": _spec(_selector(owner, routed), tls=tls)}


def revision_service(owner: Owner, revision: str, *, tls: bool = False) -> dict[str, Any]:
    """Leads to one revision whatever the weights are."""
    meta = metadata(owner, child_name(owner, revision), revision)
    return {**head(SERVICE, meta), "spec": _spec(pods_of(owner, revision), tls=tls)}


def selecting_service(owner: Owner, name: str, revision: str, *, tls: bool = False) -> dict[str, Any]:
    """Leads to one revision, or to nobody, and may change sides."""
    selector = _selector(owner, [revision] if revision else [])
    return {**head(SERVICE, metadata(owner, name)), "spec": _spec(selector, tls=tls)}


def routed_by(front: Object | None) -> frozenset[str]:
    """The revisions that a front sends requests to, by its selector and what is written beside it."""
    alone = ((front or {}).get("spec", {}).get("selector") or {}).get(LABEL_REVISION)
    written = str(alone or _annotation(front, ANNOTATION_ROUTED))
    return frozenset(filter(None, written.split(",")))


def _annotation(live: Object | None, name: str) -> str:
    written: str = ((live or {}).get("metadata", {}).get("annotations") or {}).get(name, "")
    return written


def _selector(owner: Owner, revisions: list[str]) -> dict[str, str]:
    if len(revisions) == 1:
        return pods_of(owner, revisions[0])
    # The component keeps the pod of a resolve Job out, which carries our label, is ready and answers nobody.
    return {LABEL_DEPLOYMENT: owner.name, LABEL_COMPONENT: SERVER if revisions else NOBODY}


def _spec(selector: dict[str, str], *, tls: bool) -> dict[str, Any]:
    http, grpc = ("https", "https") if tls else ("http", "kubernetes.io/h2c")  # gRPC over TLS has no name of its own
    ports = [_port("http", HTTP_PORT, http), _port("grpc", GRPC_PORT, grpc)]
    return {"type": "ClusterIP", "selector": selector, "ports": ports}


def _port(name: str, number: int, protocol: str) -> dict[str, Any]:
    return {"name": name, "port": number, "protocol": "TCP", "targetPort": number, "appProtocol": protocol}
