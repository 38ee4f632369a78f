"""The words that stories about rollouts are told in.

story = scenario(steps=[10, 50]).serving("v1")
story.apply("v2").runs("3m")
assert story.weights == {"v1": 50, "v2": 50}
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.fakes.told import Told

from tidegate.api.scalars import parse_duration
from tidegate.api.spec import ModelDeploymentSpec
from tidegate.api.status import Condition, ModelDeploymentStatus, RejectedRevision
from tidegate.plan.observed import Failure, FailureClass
from tidegate.plan.plan import Plan

from .invariants import check
from .world import World, bundle

TURN = timedelta(seconds=10)
QUICK = timedelta(milliseconds=100)
SETTLING_TURNS = 6


def spec_of(version: str, steps: list[Any] | None = None, **changes: Any) -> ModelDeploymentSpec:
    """A spec that names a version; steps as weights, or (weight, hold)."""
    rollout = dict(changes.pop("rollout", {}))
    if steps is not None:
        rollout["steps"] = [_step(step) for step in steps]
    document = {"bundle": {"uri": f"file:///bundles/{version}"}, "rollout": rollout, **changes}
    return ModelDeploymentSpec.model_validate(document)


def _step(step: Any) -> dict[str, Any]:
    weight, hold = step if isinstance(step, tuple) else (step, "1m")
    return {"weight": weight, "hold": hold}


class Story(Told):
    """A world with a plot; every plan on the way is checked against the invariants."""

    def __init__(self, version: str = "v1", **spec: Any) -> None:
        self._words = spec
        self.world = World(spec_of(version, **spec))
        self.knows(version)

    # -- what happens ----------------------------------------------------------------------------

    def knows(self, version: str, **changes: Any) -> Story:
        """A bundle of that version is in the store."""
        self.world.bundles[f"file:///bundles/{version}"] = bundle(version, **changes)
        return self

    def apply(self, version: str, **changes: Any) -> Story:
        """The user applies a manifest that names this version."""
        self._words = {**self._words, **changes}
        self.world.bundles.setdefault(f"file:///bundles/{version}", bundle(version))
        self.world.spec = spec_of(version, **self._words)
        self.world.generation += 1
        return self

    def edit(self, **changes: Any) -> Story:
        """The user edits everything but the version."""
        version = self.world.spec.bundle.uri.rsplit("/", 1)[1]
        return self.apply(version, **changes)

    def serving(self, version: str = "v1") -> Story:
        """That version is stable and its watch is over."""
        self.settle()
        assert self.stable == version
        return self

    def servers_of(self, version: str, **behaviour: Any) -> Story:
        for name, value in behaviour.items():
            assert hasattr(self.world.behaviour(version), name)
            setattr(self.world.behaviour(version), name, value)
        self.world.refresh_servers()
        return self

    def fails(self, version: str, reason: str, kind: str = "Content") -> Story:
        """Servers of that version never become ready, and say why."""
        return self.servers_of(version, failure=Failure(FailureClass(kind), reason, f"{version}: {reason}"))

    def answers(self, **values: float | None) -> Story:
        """What Prometheus answers to queries of these names from now on; the others have no answer."""
        self.world.answers = dict(values)
        return self

    def command(self, verb: str, version: str | None = None, step: int | None = None) -> Story:
        """A person gives a command; without a version it speaks of the candidate."""
        status = self.world.status
        named = self.revision(version) if version else (status.candidate or status.stable)
        revision = named if isinstance(named, str) else (named.revision if named else "none")
        at = self.world.now + timedelta(microseconds=len(self.world.plans))
        self.world.commands[verb] = f"{revision}{f'/{step}' if step is not None else ''}@{at.isoformat()}"
        return self.settle(1)

    def turn(self) -> Plan:
        before = self.world.observed()
        remembers = self.world.plans and self.world.status.observed_generation
        last = self.world.plans[-1] if remembers else None
        made = self.world.turn()
        check(self.world, before, made, last)
        return made

    def settle(self, turns: int = SETTLING_TURNS) -> Story:
        """Turns in which nearly no time passes."""
        for _ in range(turns):
            self.turn()
            self.world.pass_time(QUICK)
        return self

    def runs(self, time: str, every: timedelta = TURN) -> Story:
        end = self.world.now + parse_duration(time)
        while self.world.now < end:
            sleeps = self.turn().look_again is None  # nothing can change by itself
            self.world.pass_time(end - self.world.now if sleeps else every)
        self.turn()
        return self

    def until(self, condition: Callable[[Story], bool], within: str = "1h") -> Story:
        end = self.world.now + parse_duration(within)
        while not condition(self):
            assert self.world.now < end, f"not within {within}: {self.world.status.rollout}"
            self.turn()
            self.world.pass_time(TURN)
        return self

    def until_phase(self, phase: str, within: str = "1h") -> Story:
        return self.until(lambda story: story.phase == phase, within)

    def until_weight(self, weight: int, within: str = "1h") -> Story:
        """The candidate has this weight, and the counters show it."""

        def reached(story: Story) -> bool:
            candidate = story.status.candidate
            return candidate is not None and candidate.weight == weight and story.phase == "Holding"

        return self.until(reached, within)

    def loses_status(self) -> Story:
        self.world.status = ModelDeploymentStatus()
        return self

    # -- what is there ---------------------------------------------------------------------------

    def revision(self, version: str) -> str:
        """The newest revision of that version."""
        found = [r for r in self.world.records.values() if r.resolution.version == version]
        return max(found, key=lambda record: record.number).revision

    @property
    def status(self) -> ModelDeploymentStatus:
        return self.world.status

    @property
    def plan(self) -> Plan:
        return self.world.plans[-1]

    @property
    def weights(self) -> dict[str, int]:
        """By version, without those that get nothing."""
        return {self.world.version(name): weight for name, weight in self.plan.weights.items() if weight}

    @property
    def replicas(self) -> dict[str, int]:
        return {w.record.resolution.version: w.replicas for w in self.plan.revisions if w.max_replicas}

    @property
    def hold(self) -> str:
        return self.status.rollout.hold_reason if self.status.rollout else ""

    @property
    def step(self) -> int:
        return self.status.rollout.step if self.status.rollout else 0

    def condition(self, name: str) -> Condition | None:
        return next((c for c in self.status.conditions if c.type == name), None)

    @property
    def rejected(self) -> list[tuple[str, str]]:
        return [(entry.class_, entry.reason) for entry in self.status.rejected]

    def rejection(self) -> RejectedRevision:
        return self.status.rejected[-1]

    def told(self, reason: str) -> int:
        """How often an event of that reason was told."""
        return sum(event.reason == reason for event in self.world.events)


@pytest.fixture
def scenario() -> Callable[..., Story]:
    return Story
