"""The live children of one deployment, sorted: only what its uid controls, by the names that we give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegate.plan.manifests.identity import (
    AUTOSCALER,
    BUDGET,
    CANDIDATE,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    JOB,
    KIND,
    LABEL_DEPLOYMENT,
    NETWORK_POLICY,
    ROUTE_KINDS,
    SCALED_OBJECT,
    SERVICE,
    Kind,
    Object,
    Owner,
    access_name,
    candidate_name,
    controller_of,
    kind_of,
    owns,
    policy_name,
    revision_of,
    route_name,
)
from tidegate.plan.manifests.stored import Stored, read_stored


@dataclass(frozen=True, slots=True)
class Seen:
    """Live objects as they were read; maps are by revision, `jobs` by name.

    `stored` is what can be read of `revision_objects`, which are all that there are.
    """

    front: Object | None = None
    access: Object | None = None
    policy: Object | None = None
    deployments: Mapping[str, Object] = field(default_factory=dict)
    services: Mapping[str, Object] = field(default_factory=dict)
    autoscalers: Mapping[str, Object] = field(default_factory=dict)
    scaled_objects: Mapping[str, Object] = field(default_factory=dict)
    budgets: Mapping[str, Object] = field(default_factory=dict)
    stored: Mapping[str, Stored] = field(default_factory=dict)
    revision_objects: Mapping[str, Object] = field(default_factory=dict)
    jobs: Mapping[str, Object] = field(default_factory=dict)
    routes: Mapping[Kind, Object] = field(default_factory=dict)  # by kind: there is one of each
    candidate: Object | None = None  # the Service of that name
    endpoints: Mapping[str, frozenset[str]] = field(default_factory=dict)  # pods that each Service leads to
    shared: Object | None = None  # the route of somebody else that `existingRouteRef` names


def seen_of(owner: Owner, objects: Iterable[Object]) -> Seen:
    """What there is of a deployment; objects that its uid does not control, or that bear no name of ours, are left."""
    found: dict[Kind, dict[str, Object]] = {}
    for obj in objects:
        if owns(owner, obj):
            found.setdefault(kind_of(obj), {})[obj["metadata"]["name"]] = obj

    def by_revision(kind: Kind) -> dict[str, Object]:
        named = ((revision_of(owner, obj), obj) for obj in found.get(kind, {}).values())
        return {revision: obj for revision, obj in named if revision not in ("", CANDIDATE)}

    kept = by_revision(CONTROLLER_REVISION)
    read = {revision: read_stored(obj) for revision, obj in kept.items()}
    return Seen(
        front=found.get(SERVICE, {}).get(owner.name),
        access=found.get(CONFIG_MAP, {}).get(access_name(owner)),
        candidate=found.get(SERVICE, {}).get(candidate_name(owner)),
        policy=found.get(NETWORK_POLICY, {}).get(policy_name(owner)),
        deployments=by_revision(DEPLOYMENT),
        services=by_revision(SERVICE),
        autoscalers=by_revision(AUTOSCALER),
        scaled_objects=by_revision(SCALED_OBJECT),
        budgets=by_revision(BUDGET),
        stored={revision: stored for revision, stored in read.items() if stored},
        revision_objects=kept,
        jobs=found.get(JOB, {}),
        routes={kind: live for kind in ROUTE_KINDS if (live := found.get(kind, {}).get(route_name(owner, kind)))},
    )


def foreign(owner: Owner, objects: Iterable[Object]) -> list[Object]:
    """Objects under our labels that another ModelDeployment controls: of one that had this name, being collected."""
    return [obj for obj in objects if _named(owner, obj) and _others(owner, controller_of(obj))]


def _named(owner: Owner, obj: Object) -> bool:
    return bool((obj["metadata"].get("labels") or {}).get(LABEL_DEPLOYMENT) == owner.name)


def _others(owner: Owner, controller: Mapping[str, Any]) -> bool:
    return controller.get("kind") == KIND and controller.get("uid") != owner.uid
