"""Whether the gateways of a route have taken it as it is now, from what they write into its status.

A controller's words count only for the generation that they speak of: an older "accepted" is about other weights.
What a gateway does not say it has not done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.plan.manifests.identity import Object

NEEDED = ("Accepted", "ResolvedRefs")
BROKEN = "PartiallyInvalid"  # only ever True


@dataclass(frozen=True, slots=True)
class Parent:
    """A Gateway, or one listener of it."""

    namespace: str
    name: str
    section: str = ""

    def __str__(self) -> str:
        listener = f", listener {self.section}" if self.section else ""
        return f"Gateway {self.namespace}/{self.name}{listener}"


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a route is not in effect: `parent` says so, or is silent."""

    parent: Parent
    message: str
    silent: bool = False


def parents_of(route: Object) -> list[Parent]:
    """The gateways that a route names."""
    here = str(route["metadata"]["namespace"])
    return [_parent(one, here) for one in (route.get("spec") or {}).get("parentRefs") or ()]


def objection(route: Object) -> Objection | None:
    """The first thing that keeps a gateway from this generation of the route; None: all have taken it."""
    return next(_objections(route), None)


def _objections(route: Object) -> Iterator[Objection]:
    here = str(route["metadata"]["namespace"])
    generation = int(route["metadata"].get("generation") or 0)
    entries = (route.get("status") or {}).get("parents") or ()
    said = [(_parent(one.get("parentRef") or {}, here), one) for one in entries]
    for parent in parents_of(route):
        of_it = [one for about, one in said if about == parent]
        if not of_it:
            yield Objection(parent, "it has said nothing of this route yet", silent=True)
        for one in of_it:
            yield from _said(parent, one.get("conditions") or (), generation)


def _said(parent: Parent, conditions: Iterable[Mapping[str, Any]], generation: int) -> Iterator[Objection]:
    current = {one.get("type"): one for one in conditions if one.get("observedGeneration") == generation}
    for name in NEEDED:
        if name not in current:
            yield Objection(parent, f"it has not said {name} of the latest change yet", silent=True)
        elif current[name].get("status") != "True":
            yield Objection(parent, _words(current[name]))
    if (current.get(BROKEN) or {}).get("status") == "True":
        yield Objection(parent, _words(current[BROKEN]))


def _words(condition: Mapping[str, Any]) -> str:
    return f"{condition.get('reason')}: {condition.get('message')}"


def _parent(reference: Mapping[str, Any], here: str) -> Parent:
    return Parent(
        str(reference.get("namespace") or here), str(reference.get("name")), str(reference.get("sectionName") or "")
    )
