"""Queries to Prometheus: each interval's value against its limits, and never a verdict from silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.api.status import ModelDeploymentStatus
from tidegate.plan.queries import filled_in, questions
from tidegate.plan.writing import FIGURES_EVERY, write_after

from .conftest import Story, spec_of

Scenario = Callable[..., Story]
NOW = timedelta(0)
TEXT = 'max(memory{namespace={{namespace}},pod=~"{{name}}-{{revision}}-.*"})'


def analysis(*queries: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A rollout's part of a spec: these queries, and a deadline that comes late."""
    asked = [{"query": TEXT, "max": 0.5, **query} for query in queries]
    return {"analysis": {"prometheus": {"queries": asked}, "deadline": "2h", **more}}


MEMORY = {"name": "memory"}


@pytest.fixture
def trial(scenario: Scenario) -> Story:
    """v2 with 10 % of the traffic and one query, which has answered."""
    story = scenario(steps=[(10, "10m")], rollout=analysis(MEMORY)).serving("v1").answers(memory=0.3)
    return story.apply("v2").until_weight(10).runs("20s")


def check(story: Story, name: str = "memory") -> tuple[str, str]:
    """What the status shows of a query."""
    assert story.status.rollout is not None
    found = next(check for check in story.status.rollout.checks if check.name == f"query/{name}")
    return found.verdict, found.message


def failed(story: Story) -> int:
    return sum(tally.failed for tally in story.status.rollout.queries) if story.status.rollout else 0


def latest(story: Story) -> dict[str, str]:
    return list(story.world.asked.values())[-1]


# What is asked, and when.


def test_nothing_is_asked_while_no_rollout_runs(scenario: Scenario) -> None:
    story = scenario(rollout=analysis(MEMORY)).serving("v1").runs("1h")

    assert story.world.asked == {}


def test_nothing_is_asked_without_queries(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1m")]).serving("v1").apply("v2").runs("10m")

    assert (story.stable, story.world.asked) == ("v2", {})


def test_a_query_is_asked_once_in_an_interval_however_often_the_servers_are_looked_at(trial: Story) -> None:
    trial.world.asked.clear()

    trial.runs("1m", every=timedelta(seconds=1))

    assert 6 <= len(trial.world.asked) <= 7  # a look that comes a little early counts, as for all evidence


def test_what_is_asked_speaks_of_the_candidate(trial: Story) -> None:
    trial.runs("20s")

    revision = trial.revision("v2")
    assert latest(trial) == {"memory": f'max(memory{{namespace="shop",pod=~"fraud-{revision}-.*"}})'}


def test_after_the_promotion_it_speaks_of_the_new_stable_version(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1m")], rollout=analysis(MEMORY)).serving("v1").answers(memory=0.3)
    story.apply("v2").until_phase("Watching").runs("30s")

    assert story.revision("v2") in latest(story)["memory"]


def test_a_status_without_a_candidate_asks_about_nobody() -> None:
    spec = spec_of("v1", rollout=analysis(MEMORY))
    odd = {"rollout": {"phase": "Holding", "queriedAt": "2026-01-01T00:00:00Z"}}
    status = ModelDeploymentStatus.model_validate(odd)
    assert status.rollout is not None and status.rollout.queried_at is not None

    asked = questions(spec, status, "shop", "fraud", status.rollout.queried_at + timedelta(hours=1))

    assert asked["memory"] == 'max(memory{namespace="shop",pod=~"fraud--.*"})'


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("up{job={{name}}}", 'up{job="fraud"}'),
        ('up{job="{{name}}"}', 'up{job="fraud"}'),
        ("up{pod=~'{{name}}-.*', namespace={{namespace}}}", "up{pod=~'fraud-.*', namespace=\"shop\"}"),
        ("up{pod=~`{{name}}-{{revision}}`}", "up{pod=~`fraud-r1`}"),
        ('up{a="\\"{{name}}",b={{revision}}}', 'up{a="\\"fraud",b="r1"}'),
        ("up # {{name}} it's\n+ {{name}}", 'up # {{name}} it\'s\n+ "fraud"'),
        ("up{job={{other}}}", "up{job={{other}}}"),
        ("rate(up[5m]) > 0.5", "rate(up[5m]) > 0.5"),
        ('up{a="{{name}}', 'up{a=""fraud"'),  # what is no PromQL stays none
    ],
)
def test_places_are_filled_in_as_strings_wherever_they_stand(written: str, asked: str) -> None:
    assert filled_in(written, {"namespace": "shop", "name": "fraud", "revision": "r1"}) == asked


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_everything_else_of_a_query_stays_as_it_was_written(query: str) -> None:
    assert filled_in(query, {}) == query


# An answer outside the limits.


def test_values_outside_a_limit_send_the_candidate_back(trial: Story) -> None:
    trial.answers(memory=0.9).runs("1m").settle()

    assert trial.rejected == [("Content", "QueryFailed")]
    assert trial.rejection().message == "query memory: 0.9 (max 0.5), 2 failed intervals, fail"
    assert trial.weights == {"v1": 100}


def test_as_many_failed_intervals_as_the_limit_says_and_none_earlier(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")], rollout=analysis(MEMORY, failureLimit=4)).serving("v1").answers(memory=0.9)

    story.apply("v2").until(lambda story: failed(story) == 3)
    assert check(story) == ("undecided", "query memory: 0.9 (max 0.5), 3 failed intervals, undecided")
    story.until(lambda story: bool(story.rejected), within="20s")

    assert story.rejected == [("Content", "QueryFailed")]


@pytest.mark.parametrize(
    ("limits", "value", "said"),
    [
        ({"max": 0.5}, 0.6, "0.6 (max 0.5)"),
        ({"max": None, "min": 1}, 0.5, "0.5 (min 1)"),
        ({"max": 200, "min": 100}, 99.5, "99.5 (min 100, max 200)"),
        ({"max": 200, "min": 100}, 1234567, "1.23457e+06 (min 100, max 200)"),
        ({"max": -1}, 0, "0 (max -1)"),
    ],
)
def test_both_limits_count_and_are_shown(scenario: Scenario, limits: dict[str, float], value: float, said: str) -> None:
    story = scenario(steps=[(10, "1h")], rollout=analysis({**MEMORY, **limits})).serving("v1").answers(memory=value)

    story.apply("v2").until(lambda story: bool(story.rejected), within="5m")

    assert said in story.rejection().message


def test_a_value_at_its_limit_is_within_it(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1m")], rollout=analysis({**MEMORY, "min": 0.5})).serving("v1").answers(memory=0.5)

    assert story.apply("v2").until_phase("Watching").stable == "v2"


def test_failed_intervals_need_not_follow_each_other(trial: Story) -> None:
    trial.answers(memory=0.9).until(lambda story: failed(story) == 1).answers(memory=0.1).runs("1m")
    assert check(trial) == ("pass", "query memory: 0.1 (max 0.5), 1 failed interval, pass")

    trial.answers(memory=0.9).runs("20s").settle()

    assert trial.rejected == [("Content", "QueryFailed")]


def test_each_query_counts_for_itself(scenario: Scenario) -> None:
    queries = ({"name": "a"}, {"name": "b"}, {"name": "c"})
    story = scenario(steps=[(10, "1h")], rollout=analysis(*queries)).serving("v1").answers(a=0.1, b=0.1, c=0.1)
    story.apply("v2").until_weight(10)

    story.answers(a=0.9, b=0.1, c=0.1).until(lambda story: failed(story) == 1)
    story.answers(a=0.1, b=0.9, c=0.1).until(lambda story: failed(story) == 2).answers(a=0.1, b=0.1, c=0.1).runs("2m")

    assert story.rejected == []
    assert [check(story, name)[0] for name in "abc"] == ["pass", "pass", "pass"]


def test_a_failing_query_is_reported_before_those_that_pass(scenario: Scenario) -> None:
    queries = ({"name": "a"}, {"name": "b"})
    story = scenario(steps=[(10, "1h")], rollout=analysis(*queries)).serving("v1").answers(a=0.1, b=0.7)

    story.apply("v2").until(lambda story: bool(story.rejected), within="5m")

    assert story.rejection().message.startswith("query b: 0.7")


def test_confidence_has_no_say_in_queries(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")], rollout=analysis(MEMORY, confidence=0)).serving("v1").answers(memory=0.9)

    story.apply("v2").until(lambda story: bool(story.rejected), within="2m")

    assert story.rejected == [("Content", "QueryFailed")]


def test_a_version_without_a_weight_is_not_asked_about(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")], rollout=analysis(MEMORY)).serving("v1").answers(memory=0.9)
    story.world.route_accepted = False

    story.apply("v2").servers_of("v2", ready=0).runs("5m")

    assert (story.candidate, story.world.asked) == ("v2", {})


def test_while_the_weight_is_held_at_nothing_nothing_is_compared(trial: Story) -> None:
    trial.servers_of("v2", ready=0).runs("20s").answers(memory=0.9).runs("5m")
    assert (trial.weights, failed(trial)) == ({"v1": 100}, 0)
    assert trial.status.rollout is not None and trial.status.rollout.queried_at is None

    trial.servers_of("v2", ready=None).runs("1m").settle()

    assert trial.rejected == [("Content", "QueryFailed")]


def test_a_paused_rollout_does_not_go_back_by_itself(trial: Story) -> None:
    trial.command("pause").answers(memory=0.9).runs("5m")
    assert (trial.rejected, failed(trial) > 2) == ([], True)

    trial.command("resume").settle()

    assert trial.rejected == [("Content", "QueryFailed")]


# No answer.


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf")])
def test_no_number_is_never_a_failure_and_never_a_pass(scenario: Scenario, value: float | None) -> None:
    story = scenario(steps=[(10, "1m")], rollout=analysis(MEMORY)).serving("v1").answers(memory=value)

    story.apply("v2").runs("1h")

    assert (story.rejected, story.weights, story.hold) == ([], {"v1": 90, "v2": 10}, "Undecided")
    said = "query memory: no answer yet (max 0.5): an empty result, or no finite number, undecided"
    assert check(story) == ("undecided", said)


def test_the_reason_of_the_silence_is_shown_and_cut_to_its_room(trial: Story) -> None:
    trial.world.unanswered = {"memory": "Prometheus main refuses it: " + "parse error: unexpected end of input " * 4}
    trial.answers().runs("30s")

    verdict, message = check(trial)
    assert verdict == "pass"  # its last answer was within the limits
    assert message.startswith("query memory: 0.3 (max 0.5), 0 failed intervals; no answer now: Prometheus main refuses")
    assert "…" in message


def test_silence_between_failures_forgets_none_of_them(trial: Story) -> None:
    trial.answers(memory=0.9).until(lambda story: failed(story) == 1).answers().runs("5m")
    assert (trial.rejected, failed(trial)) == ([], 1)

    trial.answers(memory=0.9).runs("20s").settle()

    assert trial.rejected == [("Content", "QueryFailed")]


def test_a_runner_that_did_not_ask_is_asked_for_again_at_the_next_look(trial: Story) -> None:
    trial.runs("1m")
    assert trial.status.rollout is not None
    at = trial.status.rollout.queried_at
    observed = trial.world.observed
    trial.world.observed = lambda: replace(observed(), queries={})  # type: ignore[method-assign]

    trial.runs("1m")

    assert trial.status.rollout.queried_at == at


def test_one_answer_within_the_limits_lets_the_rollout_end(trial: Story) -> None:
    trial.until_phase("Watching")

    assert trial.stable == "v2"


def test_a_last_answer_outside_the_limits_holds_up_the_promotion(scenario: Scenario) -> None:
    rollout = analysis(MEMORY, failureLimit=100)
    story = scenario(steps=[(10, "1m")], rollout=rollout).serving("v1").answers(memory=0.3)
    story.apply("v2").until_weight(10).runs("40s").answers(memory=0.6).runs("10m")
    assert story.hold == "Undecided"
    assert "query memory: 0.6 (max 0.5)" in story.status.rollout.hold_message  # type: ignore[union-attr]

    story.answers(memory=0.4).runs("1m")

    assert story.stable == "v2"


def test_a_model_without_users_waits_for_its_queries_too(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1m")], rollout=analysis(MEMORY)).serving("v1").answers()
    story.world.rate = 0

    story.apply("v2").runs("10m")
    assert (story.hold, story.weights) == ("Undecided", {"v1": 90, "v2": 10})
    story.answers(memory=0.1).runs("1m")

    assert story.stable == "v2"


def test_all_at_once_is_judged_after_the_promotion(scenario: Scenario) -> None:
    story = scenario(steps=[], rollout=analysis(MEMORY)).serving("v1").answers(memory=0.9)

    story.apply("v2").until_phase("Watching").runs("1m").settle()

    assert (story.stable, story.rejected) == ("v1", [("Content", "FailedAfterPromotion")])


def test_a_person_need_not_wait_for_a_query(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")], rollout=analysis(MEMORY)).serving("v1").answers()

    story.apply("v2").until_weight(10).command("promote-full").runs("1m")

    assert story.stable == "v2"


# The deadline.


@pytest.mark.parametrize(
    ("decides", "value", "stable", "events"),
    [
        ("Promote", None, "v2", ["DeadlinePromotes"]),
        ("Promote", 0.9, "v1", []),
        ("Rollback", None, "v1", []),
        ("Wait", None, "v1", []),
    ],
)
def test_at_the_deadline_on_inconclusive_decides(
    scenario: Scenario, decides: str, value: float | None, stable: str, events: list[str]
) -> None:
    rollout = analysis(MEMORY, onInconclusive=decides, deadline="10m", failureLimit=100)
    story = scenario(steps=[(10, "1m")], rollout=rollout).serving("v1").answers(memory=value)

    story.apply("v2").runs("11m").settle()

    assert story.stable == stable
    assert story.told("DeadlinePromotes") == len(events)
    rolled_back = decides == "Rollback" or value is not None
    assert story.rejected == ([("Environment", "DeadlineExceeded")] if rolled_back else [])
    if rolled_back:
        assert "query memory" in story.rejection().message


# Edits, crashes and what is remembered.


def test_an_edited_query_begins_anew(trial: Story) -> None:
    trial.answers(memory=0.9).until(lambda story: failed(story) == 1)

    trial.edit(rollout=analysis({**MEMORY, "max": 0.8}))
    trial.answers(memory=0.85).until(lambda story: failed(story) == 1, within="1m")

    assert trial.rejected == []
    assert trial.runs("20s").settle().rejected == [("Content", "QueryFailed")]


def test_an_edit_of_another_query_leaves_it_what_it_was(trial: Story) -> None:
    trial.answers(memory=0.9, cost=0).until(lambda story: failed(story) == 1)

    trial.edit(rollout=analysis({"name": "cost", "max": 3}, MEMORY)).runs("20s").settle()

    assert trial.rejected == [("Content", "QueryFailed")]


def test_queries_that_are_taken_out_are_forgotten(trial: Story) -> None:
    trial.answers(memory=0.9).until(lambda story: failed(story) == 1)

    trial.edit(rollout={"analysis": {"deadline": "2h"}}).runs("1m")

    assert trial.status.rollout is not None
    assert (trial.status.rollout.queries, trial.status.rollout.queried_at) == ((), None)


def test_a_failed_interval_is_written_at_once_and_a_good_one_with_the_figures(trial: Story) -> None:
    trial.runs("1m")
    before, at = trial.status, trial.world.now
    trial.runs("20s")
    assert write_after(before, trial.status, at, trial.world.now) == FIGURES_EVERY - timedelta(seconds=20)

    trial.answers(memory=0.9).until(lambda story: failed(story) == 1)

    assert write_after(before, trial.status, at, trial.world.now) == NOW


def test_failures_survive_a_crash(trial: Story) -> None:
    trial.answers(memory=0.9).until(lambda story: failed(story) == 1)
    text = trial.status.model_dump_json(by_alias=True)

    trial.world.status = ModelDeploymentStatus.model_validate_json(text)
    trial.world.crash_before_status()
    trial.runs("20s").settle()

    assert trial.rejected == [("Content", "QueryFailed")]


def test_a_clock_that_steps_back_makes_no_query_wait_for_longer_than_an_interval(trial: Story) -> None:
    trial.runs("1m")
    trial.world.now -= timedelta(hours=1)
    trial.settle(1).world.asked.clear()

    trial.runs("20s")

    assert trial.world.asked


# After the promotion.


def test_after_the_promotion_they_go_on_and_lead_back_at_once(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1m")], rollout=analysis(MEMORY)).serving("v1").answers(memory=0.3)
    story.apply("v2").until_phase("Watching").runs("30s").answers(memory=0.9).runs("1m").settle()

    assert story.stable == "v1"
    assert story.rejected == [("Content", "FailedAfterPromotion")]
    assert "query memory: 0.9" in story.rejection().message


def test_failures_of_the_steps_do_not_count_after_the_promotion(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "2m")], rollout=analysis(MEMORY)).serving("v1").answers(memory=0.9)
    story.apply("v2").until(lambda story: failed(story) == 1).answers(memory=0.3).until_phase("Watching")

    assert failed(story.runs("20s")) == 0
    story.answers(memory=0.9).until(lambda story: failed(story) == 1).answers(memory=0.3).runs("10m")

    assert (story.stable, story.phase) == ("v2", "Serving")


# What the status shows of many checks.


def test_queries_are_shown_whatever_else_is_checked(scenario: Scenario) -> None:
    quantiles = dict.fromkeys(("p50", "p90", "p95", "p99", "p99.9"), "80ms")
    outputs = [{"name": f"o{i}"} for i in range(8)]
    many = {"maxLatency": quantiles, "maxLatencyIncrease": dict.fromkeys(quantiles, "20%")}
    rollout = analysis(
        {"name": "a"}, {"name": "b"}, **many, maxDivergence={"top1Disagreement": 0.1, "outputs": outputs}
    )
    story = scenario(steps=[(10, "1h")], rollout=rollout).serving("v1").answers(a=0.1, b=0.1)

    story.apply("v2").runs("1m")

    assert story.status.rollout is not None
    names = [check.name for check in story.status.rollout.checks]
    assert (len(names), names[0], names[-2:]) == (16, "errors", ["query/a", "query/b"])


# Counters that come by way of Prometheus.


def test_why_the_counters_cannot_be_read_is_what_the_rollout_waits_for(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1m")]).serving("v1")
    story.world.unreadable, story.world.unread = True, "no Prometheus is called main"

    story.apply("v2").runs("5m")

    assert story.hold == "EvidenceMissing"
    assert story.status.rollout is not None and story.status.rollout.hold_message == "no Prometheus is called main"


@pytest.fixture
def scraped(scenario: Scenario) -> Story:
    """v1 serves since long, and counters come by way of a Prometheus that scrapes each server every 45 seconds."""
    rollout = {"analysis": {"source": "Prometheus", "prometheus": {"ref": "main"}, "minRequests": 1}}
    story = scenario(steps=[(10, "10s"), (50, "10s")], rollout=rollout).serving("v1").runs("5m")
    story.world.scraped_every = 45
    return story.knows("v2", has_golden=False).runs("30s")


def test_counters_that_are_read_rarely_are_not_taken_for_silence(scraped: Story) -> None:
    before = scraped.told("WeightRaised")

    scraped.apply("v2").until(lambda story: story.told("WeightRaised") == before + 2)

    assert scraped.status.rollout is not None and scraped.status.rollout.evidence is not None
    step = scraped.status.rollout.evidence.step
    assert step.stable + step.candidate > 0


def test_silence_that_rarely_read_counters_show_is_believed(scraped: Story) -> None:
    scraped.world.rate = 0

    assert scraped.apply("v2").until_phase("Watching").stable == "v2"


def test_servers_that_are_scraped_at_different_times_do_not_look_like_a_route_that_ignores_weights(
    scraped: Story,
) -> None:
    scraped.apply("v2")
    holds = []
    while scraped.stable == "v1":
        scraped.turn()
        holds.append(scraped.hold)
        scraped.world.pass_time(timedelta(seconds=10))

    assert "WeightIgnored" not in holds


def test_a_bad_version_is_seen_in_rarely_read_counters_too(scraped: Story) -> None:
    scraped.servers_of("v2", errors=0.3).apply("v2").until(lambda story: bool(story.rejected), within="5m")

    assert scraped.rejected[0][1] in ("ErrorRateExceeded", "ErrorRateIncreased")


def test_a_few_requests_are_no_verdict_however_they_ended(scraped: Story) -> None:
    scraped.edit(rollout={"analysis": {"source": "Prometheus", "prometheus": {"ref": "main"}, "deadline": "2h"}})
    scraped.world.rate = 0.1
    scraped.servers_of("v2", errors=1.0).apply("v2").runs("5m")

    assert (scraped.rejected, scraped.hold, scraped.weights) == ([], "TooFewRequests", {"v1": 90, "v2": 10})
