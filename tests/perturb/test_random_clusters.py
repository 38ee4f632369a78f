"""Random mixtures of edits, commands, faults of pods, servers and the API, lost news, crashes and changes of the
leader: what must never happen does not, and when the faults stop everything settles, stays, and can be updated."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.fakes.behaviours import Trouble, refused

from tidegate.cluster.watch import KINDS

from .cluster_faults import Fault, conflicts, crash, lag, lose, outage, refuse
from .cluster_stage import STORE, Stage
from .cluster_stories import nothing, says, serves, set_errors, set_servers, v1_serves, v1_serves_and_scales
from .cluster_story import settle_stage
from .cluster_tally import ran
from .cluster_vandals import VANDALS
from .test_cluster_api_errors import ERRORS

VERSIONS = ("v1", "v2", "v3")
LAST = "v9"  # a sound version that is applied when all faults are over
BEGINNINGS = (nothing, v1_serves, v1_serves_and_scales)
STEPS: tuple[list[Any], ...] = (
    [],
    [{"weight": 25, "hold": "20s"}, {"weight": 50, "hold": "20s"}],
    [{"weight": 40, "hold": "manual"}],
    [{"weight": 50, "hold": "5m"}],
)
VERBS = ("promote", "promote-full", "abort", "retry", "pause", "resume", "rollback-to", "restart")
EDITS: tuple[dict[str, Any], ...] = (
    {"paused": True},
    {"paused": False},
    {"scaling": {"minReplicas": 1}},
    {"scaling": {"minReplicas": 4}},
    {"runtime": {"sessions": 2}},
    {"rollout": {"surge": "Replace"}},
    {"rollout": {"scaleDownDelay": "0s"}},
    {"rollout": {"scaleDownDelay": "3m"}},
    {"rollout": {"analysis": {"deadline": "2m", "onInconclusive": "Rollback"}}},
    {"acceptance": {"metrics": {"accuracy": {"min": 0.95}}}},
)
HEALED: dict[str, Any] = {"paused": False, "rollout": {}, "scaling": {}, "acceptance": {}, "runtime": {}}
# A Deployment without labels that is no longer wanted is not found any more: it goes with its ModelDeployment only.
BREAKAGES = tuple(vandal for vandal in VANDALS if vandal.name != "Deployment of of_revisions: without our labels")
SHORT = (0.0, 11.0, 1.0, 0.0, 27.0)


class RandomCluster(RuleBasedStateMachine):
    """The witness looks after every write, inside of `Stage.work`."""

    @initialize(begins=st.sampled_from(BEGINNINGS))
    def a_cluster(self, begins: Any) -> None:
        self.stage: Stage = begins().copy()
        self.stage.witness.floor = 0
        if begins is nothing:
            self.stage.deploy("v1")

    def strike(self, fault: Fault) -> None:
        if self.stage.process:
            fault.strike(self.stage)
        self.stage.stir()

    # -- users --------------------------------------------------------------------------------------

    @rule(version=st.sampled_from(VERSIONS))
    def deploys(self, version: str) -> None:
        self.stage.deploy(version)

    @rule(change=st.sampled_from(EDITS))
    def edits(self, change: dict[str, Any]) -> None:
        self.stage.edit(**change)

    @rule(steps=st.sampled_from(STEPS))
    def edits_steps(self, steps: list[Any]) -> None:
        self.stage.edit(rollout={"steps": steps})

    @rule(verb=st.sampled_from(VERBS), version=st.none() | st.sampled_from(VERSIONS))
    def commands(self, verb: str, version: str | None) -> None:
        known = {entry.version for entry in self.stage.status.history}
        self.stage.command(verb, self.stage.revision(version) if version in known else "")

    @rule(vandal=st.sampled_from(BREAKAGES))
    def breaks_a_child(self, vandal: Fault) -> None:
        self.strike(vandal)
        self.stage.work()

    @rule(again=st.booleans())
    def deletes(self, again: bool) -> None:
        self.stage.delete()
        if not again:
            self.stage.pass_time(5)
        self.stage.deploy("v1")

    # -- servers --------------------------------------------------------------------------------------

    @rule(version=st.sampled_from(VERSIONS), trouble=st.sampled_from(Trouble), slow=st.sampled_from([0.0, 20.0]))
    def servers_are(self, version: str, trouble: Trouble, slow: float) -> None:
        set_servers(self.stage, version, trouble=trouble, ready_after=slow, message=says("ModelInvalid"))
        self.stage.stir()

    @rule(version=st.sampled_from(VERSIONS), share=st.sampled_from([0.0, 0.01, 0.6]))
    def servers_err(self, version: str, share: float) -> None:
        set_errors(self.stage, version, share)

    @rule(version=st.sampled_from(VERSIONS), sound=st.booleans())
    def the_store(self, version: str, sound: bool) -> None:
        if sound:
            self.stage.knows(version)
        else:
            self.stage.world.bundles[STORE + version] = refused("NotFound")

    @rule(pods=st.sampled_from([1, 4, 9]), dead=st.booleans())
    def the_load(self, pods: int, dead: bool) -> None:
        self.stage.world.metrics_dead = dead
        self.stage.world.load.update(dict.fromkeys(self.stage.view.deployments, pods))
        self.stage.stir()

    @rule(rate=st.sampled_from([0.0, 1.0, 30.0]), unreadable=st.booleans())
    def requests(self, rate: float, unreadable: bool) -> None:
        self.stage.traffic.rate, self.stage.traffic.unreadable = rate, unreadable

    # -- the API server and its watches -----------------------------------------------------------------

    @rule(error=st.sampled_from(ERRORS), nth=st.integers(1, 4), at_once=st.booleans())
    def a_write_fails(self, error: tuple[str, bool], nth: int, at_once: bool) -> None:
        self.strike(refuse(nth, error[0], after=error[1], at_once=at_once))

    @rule(times=st.integers(1, 5))
    def the_status_conflicts(self, times: int) -> None:
        self.strike(conflicts(times))

    @rule()
    def no_answer_for_a_while(self) -> None:
        self.strike(outage(60))

    @rule(nth=st.integers(1, 6), count=st.sampled_from([1, 3, 1000]))
    def events_are_lost(self, nth: int, count: int) -> None:
        self.strike(lose(nth, count))

    @precondition(lambda self: self.stage.expects() < 3)
    @rule(kind=st.sampled_from(KINDS), seconds=st.sampled_from([2.0, 12.0]))
    def news_comes_late(self, kind: Any, seconds: float) -> None:
        self.strike(lag(seconds, kind))

    # -- ourselves --------------------------------------------------------------------------------------

    @rule(after=st.integers(1, 5), away=st.sampled_from([0.0, 30.0]))
    def is_killed(self, after: int, away: float) -> None:
        self.strike(crash(after, away))

    @precondition(lambda self: self.stage.process and not self.stage.former)
    @rule()
    def another_leads(self) -> None:
        self.stage.depose()

    @rule(hours=st.sampled_from([-1, 1]))
    def the_clock_jumps(self, hours: int) -> None:
        self.stage.clock.set_back(3600 * hours)

    @rule(seconds=st.sampled_from([60.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self.stage.pass_time(seconds)

    @invariant()
    def the_world_goes_on(self) -> None:
        """A little, or not at all: what happens next may meet what has only begun."""
        if hasattr(self, "stage"):
            self.done = getattr(self, "done", 0) + 1
            self.stage.pass_time(SHORT[self.done % len(SHORT)])

    # -- the end ----------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "stage"):
            return
        ran("random")
        stage = self.stage
        self._heal()
        stage.edit(**HEALED)
        stage.command("resume")
        stage.until("it settles", settled, within=4 * 3600)  # I10
        settle_stage(stage)
        stage.deploy(LAST)
        stage.until(f"{LAST} serves", lambda now: serves(now, LAST), within=4 * 3600)  # I12
        settle_stage(stage)
        assert stage.truth("Promoted") == ("True", "Promoted")

    def _heal(self) -> None:
        stage = self.stage
        stage.world.servers.clear()
        stage.world.load.clear()
        stage.world.metrics_dead = False
        stage.traffic.manners.clear()
        stage.traffic.rate, stage.traffic.unreadable = 30.0, False
        for version in VERSIONS:
            stage.knows(version)
        stage.heal()


def settled(stage: Stage) -> bool:
    """The spec's version serves, or another one does and the status says why; nothing is to be tried again."""
    refused_for_good = stage.truth("Stalled")[0] == "True" and not any(one.retry_at for one in stage.status.rejected)
    said = stage.truth("Promoted")[0] == "True" or refused_for_good
    return said and stage.phase in ("Serving", "Refused")


RandomCluster.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=20,
    phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes: ask for it where it is needed
    deadline=None,
    derandomize=True,  # the same clusters every time; `--hypothesis-seed` looks at others
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestRandomClusters = pytest.mark.timeout(900)(RandomCluster.TestCase)  # a minute on a quiet machine
