"""Servers, autoscalers, clocks and counters in trouble, in every phase: nobody's requests are lost by our doing, and a
deployment is healed by a good version, or by the end of the trouble."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
from tests.fakes.behaviours import Trouble
from tests.fakes.custom import schemas
from tests.fakes.objects import Held

from tidegate.plan.manifests.identity import LABEL_REVISION, MODEL_DEPLOYMENT

from .cluster_endings import outcome
from .cluster_families import every
from .cluster_faults import Fault
from .cluster_stage import HERE, NAME, Stage
from .cluster_stories import BY_NAME, says, serves, set_errors, set_servers, v1_serves
from .cluster_story import Frame, reference, settle_stage
from .cluster_tally import ran

PROMOTED, SCALES = BY_NAME["promoted"], BY_NAME["promoted while the load changes"]
ABORTED_WITHIN = 10.0
TROUBLES = [trouble for trouble in Trouble if trouble]


def moments() -> list[Frame]:
    """Of the way from v1 to v2, while v1 is there."""
    return [frame for frame in reference(PROMOTED).moments() if frame.run.cursor and "v1" in frame.run.stage.servers]


def heals(stage: Stage) -> None:
    """The next version is a good one, and all else is well again (I12)."""
    stage.world.servers.clear()
    stage.deploy("v3")
    stage.until("v3 serves", lambda now: serves(now, "v3"))
    settle_stage(stage)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_new_version_in_trouble_never_takes_the_old_one_with_it(trouble: Trouble) -> None:
    for frame in every(3, moments(), start=TROUBLES.index(trouble)):
        stage = frame.run.stage.copy()
        set_servers(stage, "v2", trouble=trouble, message=says("ModelInvalid"))
        stage.stir()
        for _ in range(6):
            stage.pass_time(60)
            assert stage.view.reached, f"nobody is reached in {stage.phase}, {trouble} from {frame.run.stage.phase} on"
        ran("P23")
    heals(stage)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_stable_version_in_trouble_is_replaced_by_a_good_one(trouble: Trouble) -> None:
    for frame in every(3, moments(), start=TROUBLES.index(trouble)):
        stage = frame.run.stage.copy()
        stage.witness.floor = 0
        set_servers(stage, "v1", trouble=trouble, message=says("ModelInvalid"))
        stage.until("v2 serves", lambda now: serves(now, "v2"))
        settle_stage(stage)
        ran("P24")


def evicted(stage: Stage, version: str) -> None:
    for revision, known in stage.view.versions.items():
        if known == version:
            stage.users.evict(HERE, f"{LABEL_REVISION}={revision}")


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("ready_after", [0.0, 25.0])
def test_all_pods_of_a_version_may_be_evicted_at_once(version: str, ready_after: float) -> None:
    for frame in every(2, moments()):
        stage = frame.run.stage.copy()
        stage.witness.floor = 0
        set_servers(stage, version, ready_after=ready_after)
        stage.until("all are ready", lambda now: all(now.servers.values()))
        evicted(stage, version)
        stage.until("v2 serves", lambda now: serves(now, "v2"))
        settle_stage(stage)
        ran("P25")


# -- autoscalers ----------------------------------------------------------------------------------------


def scales_to(stage: Stage, pods: int) -> None:
    for revision in stage.view.deployments:
        stage.world.load[revision] = pods
    stage.stir()


def loses_its_figures(stage: Stage) -> None:
    stage.world.metrics_dead = True
    stage.after(120, finds_its_figures)


def finds_its_figures(stage: Stage) -> None:
    stage.world.metrics_dead = False


LOADS = (
    Fault("more load", partial(scales_to, pods=6)),
    Fault("less load", partial(scales_to, pods=3)),
    Fault("no figures", loses_its_figures),
)


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)
def test_the_number_of_servers_may_change_in_any_phase(load: Fault) -> None:
    known = reference(SCALES)
    for frame in [one for one in known.moments() if one.run.cursor > 2]:
        run = frame.run.copy()
        load.strike(run.stage)
        run.go()
        settle_stage(run.stage)
        assert run.stage.stable == "v2"
        ran("P22")


def test_an_abort_is_done_at_once_even_if_all_else_is_dead() -> None:
    """I11: neither counters nor autoscalers nor the candidate's servers are needed for it."""
    for frame in [one for one in reference(SCALES).moments() if one.run.stage.candidate]:
        stage = frame.run.stage.copy()
        stage.traffic.unreadable = stage.world.metrics_dead = True
        set_servers(stage, "v2", trouble=Trouble.NEVER_READY)
        stage.stir()
        stage.work()
        stage.command("abort")

        stage.pass_time(ABORTED_WITHIN)

        assert stage.split == {"v1": 100}
        ran("P23")


# -- clocks and counters --------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_clock_may_step_by_an_hour_in_any_phase(hours: int) -> None:
    for frame in every(2, moments()):
        stage = frame.run.stage.copy()
        stage.clock.set_back(-3600 * hours)
        stage.until("v2 serves", lambda now: serves(now, "v2"), within=3 * 3600)
        settle_stage(stage)
        ran("P5")


def test_without_counters_a_rollout_waits_and_is_not_promoted_by_its_deadline() -> None:
    for frame in every(2, moments()[:-2]):
        stage = frame.run.stage.copy()
        stage.traffic.unreadable = True
        stage.pass_time(3000)
        if stage.status.rollout is None or stage.phase != "Serving":
            assert stage.stable == "v1"
        stage.traffic.unreadable = False
        stage.until("v2 serves", lambda now: serves(now, "v2"), within=8 * 3600)
        settle_stage(stage)
        ran("P26")


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_errors_of_the_new_version_bring_the_old_one_back_in_any_phase(share: float) -> None:
    for frame in every(2, moments()):
        stage = frame.run.stage.copy()
        set_errors(stage, "v2", share)
        stage.until("v1 serves", lambda now: serves(now, "v1"))
        settle_stage(stage)
        ran("P23")


# -- the status -----------------------------------------------------------------------------------------

Spoils = Callable[[Stage], object]


def loses_status(stage: Stage) -> None:
    spoil(stage, {})


def of_a_later_version(stage: Stage) -> None:
    status = stage.owner.get("status") or {}
    if "rollout" in status:
        spoil(stage, {**status, "rollout": {**status["rollout"], "phase": "Pondering"}})


def has_more_fields(stage: Stage) -> None:
    """As a later version wrote it, whose definition of the kind is installed."""
    held = stage.cluster.objects.held(MODEL_DEPLOYMENT, HERE, NAME)
    assert held
    obj = held.obj
    obj["status"] = with_more_fields(obj.get("status") or {}, schemas()["status"])
    stage.cluster.objects.put(MODEL_DEPLOYMENT, obj, held, Held(b"", held.owners, held.times))


def with_more_fields(part: Any, schema: Mapping[str, Any]) -> Any:
    """In every object of it; a map has no fields."""
    if isinstance(part, dict) and "properties" in schema:
        known = {name: with_more_fields(one, schema["properties"].get(name, {})) for name, one in part.items()}
        return known | {"ofALaterVersion": {"all": [1, "b"]}}
    return [with_more_fields(one, schema["items"]) for one in part] if isinstance(part, list) else part


def contradicts_itself(stage: Stage) -> None:
    status = stage.owner.get("status") or {}
    if status.get("candidate"):
        spoil(stage, {name: part for name, part in status.items() if name != "rollout"})


def spoil(stage: Stage, status: dict[str, object]) -> None:
    stage.users.set_status(stage.kind_of(stage.owner), HERE, stage.owner["metadata"]["name"], status)


@pytest.mark.parametrize("spoils", [loses_status, of_a_later_version, has_more_fields, contradicts_itself])
@pytest.mark.parametrize("name", ["first deployment", "promoted", "new spec in the steps"])
def test_a_status_that_is_lost_or_odd_is_made_good(name: str, spoils: Spoils) -> None:
    known = reference(BY_NAME[name])
    for frame in every(2, [one for one in known.moments() if one.run.cursor]):
        run = frame.run.copy()
        spoils(run.stage)
        run.go()
        settle_stage(run.stage)
        assert outcome(run.stage) == known.outcome
        ran("P6")


def test_fields_of_a_later_version_are_no_reason_to_write() -> None:
    """Whoever goes back to the version before finds them where they were, until the deployment changes."""
    stage = v1_serves().copy()
    has_more_fields(stage)
    before = stage.owner["status"]
    stage.kill()

    settle_stage(stage)

    assert stage.owner["status"] == before
    ran("P6")
