"""Which of our routes claim which host name at which gateway.

Two routes with one host name are no fault to a gateway: it merges them, and of the same paths the older one gets all
requests, in silence.  So the younger one's deployment has to be told.  Routes that are not ours are not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tidegate.cluster.api import Key, metadata
from tidegate.plan.manifests.identity import LABEL_DEPLOYMENT, ROUTE_KINDS, Kind
from tidegate.plan.manifests.parents import parents_of

Claim = tuple[Kind, str, str]  # gateway and listener; host name, or the paths where there is none
Rank = tuple[str, Key]  # since when, and whose: the lowest wins


class Claims:
    """The claims of all routes that are held."""

    def __init__(self) -> None:
        self._ranks: dict[Claim, set[Rank]] = {}
        self._of: dict[tuple[Kind, Key], tuple[Rank, frozenset[Claim]]] = {}

    def put(self, kind: Kind, key: Key, route: Mapping[str, Any]) -> None:
        if kind in ROUTE_KINDS and LABEL_DEPLOYMENT in (metadata(route).get("labels") or {}):
            self.drop(kind, key)
            rank, claims = rank_of(route), frozenset(claims_of(kind, route))
            self._of[kind, key] = rank, claims
            for claim in claims:
                self._ranks.setdefault(claim, set()).add(rank)

    def drop(self, kind: Kind, key: Key) -> None:
        rank, claims = self._of.pop((kind, key), (None, frozenset()))
        for claim in claims:
            self._ranks[claim] -= {rank}
            if not self._ranks[claim]:
                del self._ranks[claim]

    def rival(self, kind: Kind, route: Mapping[str, Any]) -> tuple[str, Key] | None:
        """What a route claims in vain, and the deployment that has it."""
        own = rank_of(route)
        for claim in sorted(claims_of(kind, route), key=lambda claim: claim[2]):
            first = min(self._ranks.get(claim, {own}))
            if first < own:
                return claim[2], first[1]
        return None


def rank_of(route: Mapping[str, Any]) -> Rank:
    about = metadata(route)
    name = (about.get("labels") or {}).get(LABEL_DEPLOYMENT)
    return str(about.get("creationTimestamp")), (str(about.get("namespace")), str(name))


def claims_of(kind: Kind, route: Mapping[str, Any]) -> Iterator[Claim]:
    spec = route.get("spec") or {}
    names = spec.get("hostnames") or [f"/v2/models/{metadata(route).get('name')}"]
    for parent in parents_of(route):
        yield from ((kind, str(parent), str(name)) for name in names)
