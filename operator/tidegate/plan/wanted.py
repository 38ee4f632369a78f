"""What a plan consists of: values that a runner carries out in the order of the fields, deciding nothing.

A plan says the whole of what is wanted now, not a difference: carrying out the same plan twice changes
nothing, and what an old plan wanted and this one does not is to be taken away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from tidegate.api.bundle import BundleSource
from tidegate.api.decision import Decision
from tidegate.api.rollout import MaxDivergence
from tidegate.api.status import ModelDeploymentStatus
from tidegate.plan.observed import RevisionRecord

GoldenMode = Literal["Require", "Report", "Skip"]


@dataclass(frozen=True, slots=True)
class ResolveWanted:
    """Read the manifest of `source` and answer with `Resolved(key, attempt, …)`.

    Wanted in every plan until that answer is observed: start one resolution per (key, attempt), in the
    background, and drop the answer of any other.  `prove`: bring the whole bundle and run its golden samples too,
    because no server of it can run before one that serves has to go.  `plain_bytes`: as the resolution says, if known.
    """

    key: str
    attempt: int
    source: BundleSource
    prove: bool = False
    plain_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RevisionWanted:
    """Servers of one revision: between `replicas` and `max_replicas`, started from `record`.

    `replicas` is a minimum; a runner without autoscaler keeps exactly that many, and one where the minimum
    is zero and `max_replicas` is not.  `max_replicas` zero: drain and stop them, keep the record.  A revision
    that exists and is in no plan: drain and stop its servers (never one that still has weight in the observed
    route; plans see to that).
    """

    record: RevisionRecord
    replicas: int
    max_replicas: int
    golden: GoldenMode  # what a mismatch of the golden samples does: no readiness, a line in the log, nothing


@dataclass(frozen=True, slots=True)
class ShadowWanted:
    """Copies of `percent` of `source`'s requests, with its answers, to `target`'s compare endpoint."""

    source: str
    target: str
    percent: float
    rules: MaxDivergence | None  # what counts as different; None: top-1 only, recorded and not judged


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling a person, once; `type` is Normal or Warning, `command` the one that it follows."""

    type: str
    reason: str
    message: str
    revision: str = ""
    command: str = ""  # the verb and its value


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wanted now.

    `revisions`: first see to these servers; at most two revisions ever have replicas.
    `weights`: then the route, integers by revision that sum to 100; empty when nothing may be routed yet (before
    the first version is ready).  Revisions that are not named have 0.  `pin` is the revision that the header of
    `routing.headers` leads to (the candidate, once ready), None: no header rule.
    `stable`: the name to keep as `Observed.stable_marker`, written together with the weights.
    `shadow`, `synthetic`: renewed with every plan; golden samples per second by revision.
    `keep`: records (and cached bundles) that must not be deleted; all others may be.
    `status`: written with every plan when it differs from the one read.
    `decisions`: to be told once this status is written, each once; of events they are the fuller form.
    `look_again`: plan again after this time at the latest, and whenever something observed changes.
    """

    revisions: tuple[RevisionWanted, ...]
    weights: Mapping[str, int]
    stable: str
    pin: str | None
    shadow: ShadowWanted | None
    synthetic: Mapping[str, float]
    resolve: ResolveWanted | None
    keep: frozenset[str]
    status: ModelDeploymentStatus
    events: tuple[Event, ...]
    decisions: tuple[Decision, ...]
    look_again: timedelta | None
