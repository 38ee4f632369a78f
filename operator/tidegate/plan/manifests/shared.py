"""A route that somebody keeps elsewhere, in Git say: of all that is in it only two weights are ours.

    NAME            the front Service: the stable version
    NAME-candidate  the candidate, or nobody

These names never change, so that the route can be written down once.  Every rule that sends requests to both has its
two weights written, by read-modify-write; rules, references and fields of others stay as they are.

At a promotion the front changes sides while the candidate's Service has everything, and gets everything back when its
endpoints are those of the new version: what a Service selects and where a gateway sends requests are two things for a
moment.  The candidate's Service changes sides only while it has no weight, and its gateways have taken that.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tidegate.plan.manifests.effects import Edit
from tidegate.plan.manifests.front import selecting_service
from tidegate.plan.manifests.identity import LABEL_REVISION, Object, Owner, candidate_name, child_name, kind_of
from tidegate.plan.manifests.parents import objection
from tidegate.plan.manifests.seen import Seen
from tidegate.plan.replicas import FULL
from tidegate.plan.wanted import Plan

Pair = tuple[int, int]  # of the front and of the candidate's Service


def front_revision(plan: Plan) -> str:
    """Whom the front leads to: the stable version whatever its weight is."""
    return plan.stable or next((revision for revision, weight in plan.weights.items() if weight), "")


def candidate_service(owner: Owner, plan: Plan, seen: Seen) -> dict[str, Any]:
    """The candidate's Service; while requests may reach it, it stays where it is.

    A weight of 0 that is written and not taken yet is none: Contour waits up to half a second before it takes one, and
    changes endpoints at once, so that clients would meet nobody.
    """
    others = sorted(plan.weights.keys() - {front_revision(plan)}, key=lambda one: (-plan.weights[one], one))
    wanted = others[0] if others else ""
    if seen.shared is not None and (objection(seen.shared) or any(second for _, second in pairs(owner, seen.shared))):
        wanted = selected(seen.candidate) or wanted
    tls = any(one.record.runtime.tls and one.record.revision == wanted for one in plan.revisions)
    return selecting_service(owner, candidate_name(owner), wanted, tls=tls)


def edit(owner: Owner, plan: Plan, seen: Seen) -> Iterator[Edit]:
    """The write that gives both Services their weights, where they have others and may have these now."""
    route = seen.shared
    if route is None or not plan.weights:
        return
    wanted = pair(owner, plan, seen)
    if wanted is None or all(one == wanted for one in pairs(owner, route)):
        return
    spec = {"rules": list(_reweighed(owner, route["spec"].get("rules") or (), wanted))}
    meta = route["metadata"]
    yield Edit(kind_of(route), meta["namespace"], meta["name"], meta["resourceVersion"], {"spec": spec})


def pair(owner: Owner, plan: Plan, seen: Seen) -> Pair | None:
    """What both Services are to have; None while a Service that is to have some does not lead there yet."""
    sides = {owner.name: selected(seen.front), candidate_name(owner): selected(seen.candidate)}
    first, second = sides.values()
    share = 0 if second == first else plan.weights.get(second, 0)
    wanted = (plan.weights.get(first, 0), share)
    if sum(wanted) != FULL:  # a side is to be changed first
        return None
    ready = all(
        _leads_to(owner, seen, name, revision) for (name, revision), w in zip(sides.items(), wanted, strict=True) if w
    )
    return wanted if ready else None


def _leads_to(owner: Owner, seen: Seen, service: str, revision: str) -> bool:
    pods = seen.endpoints.get(service, frozenset())
    return bool(pods) and all(pod.startswith(f"{child_name(owner, revision)}-") for pod in pods)


def selected(service: Object | None) -> str:
    """The revision that a Service selects; empty: none, or several."""
    found: str = ((service or {}).get("spec", {}).get("selector") or {}).get(LABEL_REVISION, "")
    return found


# -- reading


def usable(owner: Owner, route: Object) -> bool:
    """Whether the route names both Services in one rule."""
    return bool(pairs(owner, route))


def pairs(owner: Owner, route: Object) -> list[Pair]:
    """The two weights of each rule that has both."""
    return [found for rule in (route.get("spec") or {}).get("rules") or () if (found := _pair_in(owner, rule))]


def shared_weights(owner: Owner, seen: Seen) -> Mapping[str, int]:
    """Percent by revision as the route has it, in its first rule of ours."""
    found = pairs(owner, seen.shared) if seen.shared else []
    if not found or not sum(found[0]) or any(one != found[0] for one in found):
        return {}
    weights: dict[str, int] = {}
    for service, weight in zip((seen.front, seen.candidate), found[0], strict=True):
        if revision := selected(service):
            weights[revision] = weights.get(revision, 0) + round(FULL * weight / sum(found[0]))
    return weights


def _pair_in(owner: Owner, rule: Object) -> Pair | None:
    weights = {one.get("name"): int(one.get("weight", 1)) for one in rule.get("backendRefs") or () if _is_service(one)}
    names = owner.name, candidate_name(owner)
    return (weights[names[0]], weights[names[1]]) if all(name in weights for name in names) else None


def _is_service(backend: Object) -> bool:
    return backend.get("kind", "Service") == "Service" and not backend.get("group") and not backend.get("namespace")


def _reweighed(owner: Owner, rules: Iterable[Object], wanted: Pair) -> Iterator[Object]:
    given = dict(zip((owner.name, candidate_name(owner)), wanted, strict=True))
    for rule in rules:
        changed = copy.deepcopy(dict(rule))
        if _pair_in(owner, rule):
            for backend in changed["backendRefs"]:
                if _is_service(backend) and backend.get("name") in given:
                    backend["weight"] = given[backend["name"]]
        yield changed
