"""What the status says in kstatus' words, so that Flux, `kubectl wait` and Argo CD see the truth.

Ready          the stable version serves
Promoted       this generation's revision is the stable one: what a pipeline waits for
Reconciling    there only while something is under way
Stalled        there only while the current spec is rejected
BundleVerified, RouteReady, Degraded
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tidegate.api.status import Condition, RejectedRevision
from tidegate.plan.phases import ACTIVE, Phase
from tidegate.plan.rejected import blocked
from tidegate.plan.resolving import resolving, rollback
from tidegate.plan.revision import resolve_key
from tidegate.plan.situation import Situation
from tidegate.plan.texts import code, sentence

IGNORES = "WeightIgnored"  # what the counts say of a gateway that has taken the route

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One condition as it is now; when it came about is found out by comparing."""

    status: Truth
    reason: str
    message: str = ""


Ask = Callable[[Situation], Fact | None]


def rejection(s: Situation) -> RejectedRevision | None:
    """Why the current spec is not being tried; why what a person wants back instead is not."""
    back = rollback(s)
    if back and (known := blocked(s, back.record.revision)):
        return known
    if s.target is None:
        return blocked(s, resolve_key(s.spec))
    return None if s.target.base == s.base(s.stable) else blocked(s, s.target.revision)


def ready(s: Situation) -> Fact:
    if s.status.stable is not None:
        return _serves(s, s.status.stable.version)
    if known := rejection(s):
        return Fact("False", known.reason, known.message)
    return Fact("False", s.rollout.hold_reason or "Starting", s.rollout.hold_message)


def _serves(s: Situation, version: str) -> Fact:
    """Of the stable version; one that was scaled to zero is as it should be, or whoever waits for it would for ever."""
    servers = s.servers(s.stable)
    if servers.ready:
        return Fact("True", "Serving", f"version {version}")
    if servers.failure:
        return Fact("False", servers.failure.reason, servers.failure.message)
    if s.asleep:
        return Fact("True", "ScaledToZero", f"version {version}: no server runs until KEDA wakes one")
    return Fact("False", "StableNotReady")


def promoted(s: Situation) -> Fact:
    if known := rejection(s):
        return Fact("False", known.reason, known.message)
    if s.target is None:
        return Fact("Unknown", "Resolving", "the bundle is being read")
    if s.target.base == s.base(s.stable) and s.wish is None:
        return Fact("True", "Promoted", f"version {s.target.resolution.version} is the stable version")
    return Fact("False", s.rollout.hold_reason or "RolloutRunning", s.rollout.hold_message)


def reconciling(s: Situation) -> Fact | None:
    if s.rollout.phase in ACTIVE | {Phase.RETURNING}:
        return Fact("True", s.rollout.hold_reason or s.rollout.phase, s.rollout.hold_message)
    return Fact("True", "Resolving", "the bundle is being read") if resolving(s) else None


def stalled(s: Situation) -> Fact | None:
    known = rejection(s)
    return Fact("True", known.reason, known.message) if known else None


def bundle_verified(s: Situation) -> Fact:
    known = rejection(s)
    if s.target is None:
        return Fact("False", known.reason, known.message) if known else Fact("Unknown", "Resolving")
    if known and known.reason in _OF_THE_BUNDLE:
        return Fact("False", known.reason, known.message)
    return Fact("True", "Verified", s.target.resolution.digest)


def route_ready(s: Situation) -> Fact:
    route = s.observed.route
    if route.pending and (before := next((one for one in s.status.conditions if one.type == "RouteReady"), None)):
        return Fact(before.status, before.reason, before.message)  # each step would make it False for a moment
    if not route.accepted:
        return Fact("False", route.reason, route.message)
    if s.rollout.hold_reason == IGNORES:
        return Fact("False", IGNORES, s.rollout.hold_message)
    return Fact("True", "Accepted") if route.routed else Fact("False", "NoRoute", "no version is routed yet")


def degraded(s: Situation) -> Fact:
    if known := rejection(s):
        return Fact("True", known.reason, known.message)
    if s.rollout.hold_reason == "SharedDegradation":
        return Fact("True", "SharedDegradation", s.rollout.hold_message)
    servers, least = s.servers(s.stable), s.spec.scaling.min_replicas
    if s.status.stable is not None and servers.ready < least:
        why = f": {servers.failure.message}" if servers.failure else ""
        return Fact("True", "StableNotReady", f"{servers.ready} of {least} servers ready{why}")
    if obstacle := s.observed.obstacle:
        return Fact("True", obstacle.reason, obstacle.message)
    return Fact("False", "AsExpected")


ASKED: tuple[tuple[str, Ask], ...] = (
    ("Ready", ready),
    ("Promoted", promoted),
    ("Reconciling", reconciling),
    ("Stalled", stalled),
    ("BundleVerified", bundle_verified),
    ("RouteReady", route_ready),
    ("Degraded", degraded),
)

_OF_THE_BUNDLE = frozenset({
    "DigestMismatch", "SignatureMissing", "SignatureOtherKey", "SignatureInvalid", "GoldenMismatch", "GoldenMissing",
    "ModelInvalid", "ManifestInvalid", "SourceChanged", "UnsafeFile", "TooLarge", "GoldenInvalid",
})  # fmt: skip


def conclude(s: Situation) -> Situation:
    """The situation with every condition said; times move only where a status changed."""
    before = {condition.type: condition for condition in s.status.conditions}
    facts = [(name, fact) for name, ask in ASKED if (fact := ask(s))]
    return s.remember(conditions=tuple(_condition(s, name, fact, before.get(name)) for name, fact in facts))


def _condition(s: Situation, name: str, fact: Fact, before: Condition | None) -> Condition:
    reason, message, generation = code(fact.reason), sentence(fact.message), s.observed.generation
    since = s.now
    if before is not None and before.status == fact.status:
        since = before.last_transition_time
        if (before.reason, before.message, before.observed_generation) == (reason, message, generation):
            return before
    return Condition(
        type=name,
        status=fact.status,
        reason=reason,
        message=message,
        last_transition_time=since,
        observed_generation=generation,
    )
