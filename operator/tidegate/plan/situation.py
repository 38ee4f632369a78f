"""One look at everything a decision may need, and the pen that writes the next status.

`Situation` is frozen: each stage of `plan()` takes one and gives the next, so that what a stage decided is all in
what it returns.  Facts that several stages ask for are properties here, each one sentence long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from tidegate.api.decision import Decision
from tidegate.api.rollout import Step
from tidegate.api.spec import ModelDeploymentSpec
from tidegate.api.status import ModelDeploymentStatus, RevisionStatus, RolloutStatus
from tidegate.bundle.manifest import Interface
from tidegate.plan.observed import Observed, Resolution, RevisionObserved, RevisionRecord
from tidegate.plan.phases import Surge
from tidegate.plan.replicas import FULL, Capacity
from tidegate.plan.verdict import Judgement
from tidegate.plan.wanted import Event

SHADOW_SAMPLE = 10.0  # percent of requests compared where divergence is limited and no shadow is asked for


@dataclass(frozen=True, slots=True)
class Wish:
    """The revision that should become stable, and why: Spec, Rollback or Restart."""

    record: RevisionRecord
    cause: str


@dataclass(frozen=True, slots=True)
class Situation:
    """Spec, status, observation and time, with what this plan has decided so far."""

    spec: ModelDeploymentSpec
    status: ModelDeploymentStatus
    observed: Observed
    now: datetime
    target: RevisionRecord | None = None  # what the spec names, once its bundle is resolved
    wish: Wish | None = None  # what to move to; None: stay
    judgement: Judgement | None = None
    events: tuple[Event, ...] = ()
    measured: RolloutStatus | None = None  # with its figures, before anything was decided on them
    decisions: tuple[Decision, ...] = ()
    extra_records: Mapping[str, RevisionRecord] = field(default_factory=dict)

    # -- writing ---------------------------------------------------------------------------------

    def remember(self, **changes: Any) -> Situation:
        return replace(self, status=self.status.model_copy(update=changes))

    def in_rollout(self, **changes: Any) -> Situation:
        return self.remember(rollout=self.rollout.model_copy(update=changes))

    def tell(self, reason: str, message: str, revision: str = "", *, warning: bool = False) -> Situation:
        event = Event("Warning" if warning else "Normal", reason, message, revision)
        return replace(self, events=(*self.events, event))

    # -- who is who ------------------------------------------------------------------------------

    @property
    def rollout(self) -> RolloutStatus:
        """The running rollout; a blank one where none runs, so that questions about it have an answer."""
        return self.status.rollout or _NO_ROLLOUT

    @property
    def trial(self) -> RevisionStatus:
        """The candidate; a blank one where there is none."""
        return self.status.candidate or _NOBODY

    @property
    def serving(self) -> RevisionStatus:
        """The stable version; a blank one where there is none."""
        return self.status.stable or _NOBODY

    @property
    def stable(self) -> str:
        return self.serving.revision

    @property
    def candidate(self) -> str:
        return self.trial.revision

    @property
    def previous(self) -> str:
        return self.rollout.previous.revision if self.rollout.previous else ""

    @property
    def first(self) -> bool:
        """Whether nothing has ever served: no steps, guards or shadow."""
        return self.status.stable is None

    def record(self, revision: str) -> RevisionRecord | None:
        return self.extra_records.get(revision) or self.observed.records.get(revision)

    def record_of(self, known: RevisionStatus) -> RevisionRecord:
        """The record of a revision in status; pieced together from the status when it was lost."""
        kept = self.record(known.revision)
        if kept is not None:
            return kept
        bare = Resolution(known.uri, known.digest, known.version, Interface((), ()), has_golden=False)
        return RevisionRecord(known.revision, known.number, bare, self.spec.runtime, base=known.revision)

    def base(self, revision: str) -> str:
        """The revision without its restarts."""
        record = self.record(revision)
        return record.base if record else revision

    def servers(self, revision: str) -> RevisionObserved:
        return self.observed.revisions.get(revision) or RevisionObserved(revision, 0, 0)

    @property
    def asleep(self) -> bool:
        """Whether the stable version was scaled to zero, as its spec allows."""
        return not self.first and self.spec.scaling.min_replicas == 0 and not self.servers(self.stable).replicas

    def routed(self, revision: str) -> bool:
        """Whether the route in effect sends it any requests."""
        return revision in self.observed.route.routed

    # -- the rollout's own measure -----------------------------------------------------------------

    @property
    def paused(self) -> bool:
        return self.spec.paused or self.status.paused

    @property
    def frozen(self) -> bool:
        """Whether a pause holds this rollout: not a first version, and not the way back that a person asked for."""
        return self.paused and not self.first and self.rollout.cause != "Rollback"

    @property
    def capacity(self) -> Capacity:
        replaces = self.rollout.surge == Surge.REPLACE
        return Capacity(max(self.rollout.live, 1), replaces, self.observed.exact_weights)

    @property
    def grown(self) -> Capacity:
        """What the next weight needs: as `capacity`, of as many servers as an autoscaler has given the stable version.

        A weight once given is kept by `capacity`: to take requests from the candidate because there are more of them
        would send those to a version that has too few servers just now.
        """
        now = max(self.capacity.live, self.servers(self.stable).replicas)
        return replace(self.capacity, live=now) if self.capacity.exact and not self.capacity.replace else self.capacity

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps in force: none for a first version, a return to one that has served, or an idle deployment."""
        if self.first or self.rollout.cause == "Rollback" or self.rollout.idle:
            return ()
        return tuple(self.spec.rollout.steps)

    @property
    def ladder(self) -> tuple[int, ...]:
        return self.capacity.ladder(step.weight for step in self.steps)

    @property
    def following_weight(self) -> int:
        """The first weight above the granted one; edited steps need no other rule."""
        if self.rollout.full or self.rollout.stable_lost:
            return FULL
        return next((weight for weight in self.ladder if weight > self.rollout.weight), FULL)

    @property
    def lower_weight(self) -> int:
        return max((weight for weight in self.ladder if weight < self.rollout.weight), default=0)

    @property
    def step_number(self) -> int:
        """How many weights of the ladder have been granted: 0 before the first."""
        return sum(1 for weight in self.ladder if weight <= self.rollout.weight)

    @property
    def step(self) -> Step | None:
        """The step whose hold counts now; None before the first and when it was edited away.

        Where several steps come to the same weight, the strictest: the one that waits for a person, or the longest.
        """
        current, capacity = self.rollout.weight, self.capacity
        if current in (0, FULL):
            return None
        here = [step for step in self.steps if capacity.given(step.weight) == current]
        return max(here, key=_strictness, default=None)

    @property
    def compares(self) -> bool:
        """Whether answers of both versions are compared and judged."""
        return self.spec.rollout.analysis.max_divergence is not None

    @property
    def shadow_percent(self) -> float:
        shadow = self.spec.rollout.shadow
        if shadow is not None:
            return shadow.percent
        return SHADOW_SAMPLE if self.compares else 0.0

    def elapsed(self, since: datetime | None) -> timedelta:
        """Never negative: clocks step back."""
        return max(self.now - since, timedelta(0)) if since else timedelta(0)


def _strictness(step: Step) -> timedelta:
    return step.hold if isinstance(step.hold, timedelta) else timedelta.max


_NO_ROLLOUT = RolloutStatus(cause="", phase="")
_NOBODY = RevisionStatus(revision="")
