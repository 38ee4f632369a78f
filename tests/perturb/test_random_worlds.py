"""Random mixtures of edits, failures, commands, crashes and clocks: what must never happen does not, and when the
faults stop everything settles and stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.unit.plan.conftest import Story
from tests.unit.plan.world import Behaviour, bundle

from tidegate.plan.observed import Failure, FailureClass

VERSIONS = ("v1", "v2", "v3")
STEPS: tuple[list[Any], ...] = ([], [10, 50], [(5, "20s"), (30, "0s")], [(10, "manual"), 60], [(50, "10m")])
REASONS = (("GoldenMismatch", "Content"), ("NotFound", "Environment"), ("CrashLoop", "Environment"))
VERBS = ("promote", "promote-full", "abort", "retry", "pause", "resume", "rollback-to", "restart")
ON_GPU: dict[str, Any] = {"device": "cuda", "accelerator": {}}
MANY = 100
EDITS: tuple[dict[str, Any], ...] = (
    {"paused": True},
    {"paused": False},
    {"scaling": {"minReplicas": 3}},
    {"scaling": {"minReplicas": 1}},
    {"runtime": {"sessions": 2}},
    {"runtime": {}},
    {"runtime": ON_GPU},
    {"acceptance": {"metrics": {"accuracy": {"min": 0.95}}}},
    {"acceptance": {}},
    {"rollout": {"surge": "Replace"}},
    {"rollout": {"scaleDownDelay": "0s"}},
    {"rollout": {"shadow": {"percent": 10}, "analysis": {"maxDivergence": {"top1Disagreement": 0.02}}}},
    {"rollout": {"analysis": {"deadline": "2m", "onInconclusive": "Rollback"}}},
    {"rollout": {}},
)
LAST = "v9"  # a healthy version that is applied when all faults are over


class RandomWorld(RuleBasedStateMachine):
    """Every plan is checked by `invariants.check`, inside of `Story.turn`."""

    @initialize(
        steps=st.sampled_from(STEPS),
        exact=st.booleans(),
        gpus=st.sampled_from([None, 1, 4, 5, 9]),
        servers=st.sampled_from([1, 4]),
    )
    def a_deployment(self, steps: list[Any], exact: bool, gpus: int | None, servers: int) -> None:
        rollout = {"allowDowntime": True}
        runtime: dict[str, Any] = {} if gpus is None else ON_GPU
        self.story = Story(steps=steps, scaling={"minReplicas": servers}, rollout=rollout, runtime=runtime)
        self.story.world.exact_weights, self.story.world.gpus = exact, gpus
        for version in VERSIONS:
            self.story.knows(version)

    # -- the user ---------------------------------------------------------------------------------

    @rule(version=st.sampled_from(VERSIONS))
    def applies(self, version: str) -> None:
        self.story.apply(version)

    @rule(change=st.sampled_from(EDITS))
    def edits(self, change: dict[str, Any]) -> None:
        self.story.edit(**change)

    @rule(steps=st.sampled_from(STEPS))
    def edits_steps(self, steps: list[Any]) -> None:
        self.story.edit(steps=steps)

    @rule(
        verb=st.sampled_from(VERBS), version=st.none() | st.sampled_from(VERSIONS), step=st.none() | st.integers(0, 3)
    )
    def commands(self, verb: str, version: str | None, step: int | None) -> None:
        known = {record.resolution.version for record in self.story.world.records.values()}
        self.story.command(verb, version if version in known else None, step)

    @precondition(lambda self: self.story.candidate and self.story.stable)
    @rule()
    def aborts(self) -> None:  # I11
        self.story.command("abort")
        assert self.story.weights == {self.story.stable: 100}

    # -- the servers, the store, the route ----------------------------------------------------------

    @rule(version=st.sampled_from(VERSIONS), reason=st.none() | st.sampled_from(REASONS))
    def servers_fail(self, version: str, reason: tuple[str, str] | None) -> None:
        failure = Failure(FailureClass(reason[1]), reason[0], "") if reason else None
        self.story.servers_of(version, failure=failure)

    @rule(version=st.sampled_from(VERSIONS), ready=st.sampled_from([None, 0, 1]))
    def servers_are_ready(self, version: str, ready: int | None) -> None:
        self.story.servers_of(version, ready=ready)

    @rule(version=st.sampled_from(VERSIONS), errors=st.sampled_from([0.0, 0.01, 0.5]), golden=st.booleans())
    def servers_err(self, version: str, errors: float, golden: bool) -> None:
        self.story.servers_of(version, errors=errors, golden_fails=golden)

    @rule(version=st.sampled_from(VERSIONS), kind=st.sampled_from(FailureClass))
    def the_store_fails(self, version: str, kind: FailureClass) -> None:  # I9: what serves is not touched
        before = self.story.stable
        self.story.world.bundles[f"file:///bundles/{version}"] = Failure(kind, "ManifestInvalid", "")
        self.story.settle(1)
        assert not before or self.story.stable

    @rule(version=st.sampled_from(VERSIONS))
    def the_store_is_back(self, version: str) -> None:
        self.story.knows(version)

    @rule(stuck=st.booleans(), accepted=st.booleans(), ignores=st.booleans())
    def the_route(self, stuck: bool, accepted: bool, ignores: bool) -> None:
        world = self.story.world
        world.route_stuck, world.route_accepted, world.ignores_weights = stuck, accepted, ignores

    @rule(rate=st.sampled_from([0.0, 0.5, 50.0]), unreadable=st.booleans())
    def traffic(self, rate: float, unreadable: bool) -> None:
        self.story.world.rate, self.story.world.unreadable = rate, unreadable

    @precondition(lambda self: self.story.world.gpus is not None)
    @rule(gpus=st.sampled_from([0, 1, 4, 5, 9]), stranded=st.sampled_from(["", "its node is cordoned"]))
    def gpus_come_and_go(self, gpus: int, stranded: str) -> None:
        self.story.world.gpus, self.story.world.stranded = gpus, stranded
        self.story.world.refresh_servers()

    # -- ourselves --------------------------------------------------------------------------------

    @rule()
    def crashes_before_the_status_is_written(self) -> None:
        self.story.world.crash_before_status()

    @rule()
    def loses_the_status(self) -> None:
        self.story.loses_status()

    @rule()
    def loses_what_was_resolved(self) -> None:
        self.story.world.resolved = None

    @rule(hours=st.sampled_from([-1, 1]))
    def the_clock_jumps(self, hours: int) -> None:
        self.story.world.now += timedelta(hours=hours)

    @rule(turns=st.integers(1, 12), seconds=st.sampled_from([1, 10, 60]))
    def time_passes(self, turns: int, seconds: int) -> None:
        for _ in range(turns):
            self.story.turn()
            self.story.world.pass_time(timedelta(seconds=seconds))

    # -- the end: faults stop -----------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "story"):
            return
        self._heal()
        self._settles()
        self.story.apply(LAST, paused=False, rollout={}, acceptance={}, steps=[10, 50], runtime={})
        self.story.command("resume")
        self.story.until(lambda story: story.stable == LAST and story.phase == "Serving", within="6h")  # I12
        assert self.story.truth("Promoted") == ("True", "Promoted")

    def _heal(self) -> None:
        world = self.story.world
        world.behaviours = {version: Behaviour() for version in VERSIONS}
        for version in VERSIONS:
            world.bundles[f"file:///bundles/{version}"] = bundle(version)
        world.route_stuck, world.route_accepted, world.ignores_weights, world.rate = False, True, False, 50.0
        world.unreadable, world.gpus = False, None if world.gpus is None else MANY
        world.stranded = ""
        world.refresh_servers()

    def _settles(self) -> None:
        """I10: the new version serves, or the old one does and the status says why; then nothing is written."""
        story = self.story
        story.edit(paused=False, steps=[10, 50], rollout={})
        story.command("resume").settle()
        story.until(lambda story: story.phase in ("Serving", "Refused") and story.plan.look_again is None, within="6h")
        story.settle()  # servers that are no longer wanted go
        assert story.truth("Promoted")[0] == "True" or story.truth("Stalled")[0] == "True"
        before, told = story.status, len(story.world.events)
        story.runs("10m")
        assert story.status == before
        assert len(story.world.events) == told


RandomWorld.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes: ask for it where it is needed
    deadline=None,
    derandomize=True,  # the same worlds every time; `--hypothesis-seed` looks at others
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestRandomWorlds = RandomWorld.TestCase
