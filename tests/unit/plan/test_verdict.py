"""What the evidence is made to say: each check in a sentence, and the outcome of all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tidegate.api.rollout import Analysis
from tidegate.plan import evidence as counting
from tidegate.plan.verdict import (
    AtDeadline,
    CheckResult,
    Judgement,
    Outcome,
    Verdict,
    at_deadline,
    checks_for,
    judge,
    judge_promoted,
)
from tidegate.plan.wording import figures, milliseconds, percent, times

from .servers import START, Server, Watch, analysis, watch

HORIZON = timedelta(minutes=35)


class Story:
    """A stable version that ran for ten minutes, and a candidate beside it; both as intervals of ten seconds."""

    def __init__(self, *, before: int = 1, **fields: Any) -> None:
        self.analysis: Analysis = analysis(**fields)
        self.stable, self.candidate = Server("s", "stable"), Server("c", "candidate")
        for _ in range(60):
            self.stable.answers(100, 0, 9).answers(100, before)
        self.watch: Watch = watch(self.analysis, self.stable, self.candidate)

    def runs(self, intervals: int, own: int = 0, stable: int = 0, slow: int = 0, stable_slow: int = 0) -> Story:
        """So many intervals with 90 and 10 requests a second, of which so many a second are bad or slow."""
        for _ in range(intervals):
            self.stable.answers(90, stable, 10, slow=stable_slow)
            self.candidate.answers(10, own, 10, slow=slow)
            self.watch.reads(self.stable, self.candidate)
        return self

    def promoted(self) -> Story:
        self.watch.evidence = counting.watch(self.watch.evidence, START + timedelta(seconds=self.watch.at))
        return self

    @property
    def judged(self) -> Judgement:
        return judge(self.analysis, self.watch.evidence, HORIZON)

    @property
    def judged_promoted(self) -> Judgement:
        return judge_promoted(self.analysis, self.watch.evidence, HORIZON)

    def check(self, name: str) -> CheckResult:
        return next(result for result in self.judged.results if result.check.name == name)


def test_the_sentence_has_the_numbers_first_and_no_p_values() -> None:
    story = Story(maxErrorRate=0.05).runs(20)
    assert story.check("errors").sentence == "error rate 0 % (limit 5 %), 2,000 requests, pass"
    assert story.judged.message == story.check("errors").sentence
    assert story.check("errorsIncrease").sentence == (
        "error rate 0 % (stable version 0 %, limit 1.5 times), 2,000 requests, undecided"
    )


def test_a_healthy_candidate_passes_after_some_traffic_and_never_before() -> None:
    story = Story(maxErrorRate=0.05)
    assert story.runs(2).judged.outcome == Outcome.UNDECIDED
    assert story.runs(20).judged.outcome == Outcome.PASS
    assert story.judged.reason == "Passed"


def test_before_any_request_nothing_is_known() -> None:
    judged = Story().judged
    assert judged.outcome == Outcome.UNDECIDED
    assert judged.message == "error rate unknown (limit 1 %), 0 requests, undecided"


def test_a_broken_candidate_fails_at_the_first_look() -> None:
    judged = Story().runs(1, own=3).judged
    assert (judged.outcome, judged.reason) == (Outcome.FAIL, "ErrorRateExceeded")
    assert judged.message == "error rate 30 % (limit 1 %), 100 requests, fail"


def test_a_candidate_that_breaks_late_fails_although_its_whole_record_is_good() -> None:
    story = Story(maxErrorRate=0.05).runs(60).runs(1, own=2)
    assert story.check("errors").bad / story.check("errors").requests < 0.01
    assert story.judged.outcome == Outcome.FAIL


def test_a_candidate_within_its_limit_fails_when_it_is_much_worse_than_the_stable_version() -> None:
    judged = Story(maxErrorRate=0.2).runs(6, own=1).judged
    assert (judged.outcome, judged.reason) == (Outcome.FAIL, "ErrorRateIncreased")


def test_an_outage_behind_both_versions_is_not_the_candidates() -> None:
    story = Story(before=0).runs(6).runs(6, own=10, stable=90)
    judged = story.judged
    assert (judged.outcome, judged.reason) == (Outcome.SHARED, "SharedDegradation")
    assert judged.message.startswith("both versions alike: error rate 50 %")
    assert story.check("errors").shared


def test_in_an_outage_a_candidate_that_is_worse_still_fails() -> None:
    judged = Story(before=0).runs(6).runs(6, own=10, stable=2).judged
    assert (judged.outcome, judged.reason) == (Outcome.FAIL, "ErrorRateExceeded")


def test_slow_answers_fail_a_latency_limit() -> None:
    story = Story(maxLatency={"p99": "80ms"}).runs(2, slow=3)
    assert (story.judged.outcome, story.judged.reason) == (Outcome.FAIL, "LatencyExceeded")
    assert story.judged.message == "p99 of 84 ms exceeded by 30 % (limit 1 %), 200 requests, fail"


def test_latency_that_is_bad_on_both_versions_is_shared() -> None:
    story = Story(maxLatency={"p99": "80ms"}).runs(6, slow=3, stable_slow=27)
    assert story.judged.outcome == Outcome.SHARED


def test_a_slower_candidate_fails_an_increase_and_a_slump_of_both_does_not() -> None:
    fields: dict[str, Any] = {"maxLatencyIncrease": {"p99": "20%"}}
    story = Story(**fields).runs(3, slow=3)
    assert (story.judged.outcome, story.judged.reason) == (Outcome.FAIL, "LatencyIncreased")
    assert "(stable version's 10.3 ms) exceeded by 30 % (stable version 0 %, limit 1.5 times)" in story.judged.message
    assert Story(**fields).runs(6, slow=3, stable_slow=27).judged.outcome == Outcome.UNDECIDED


def test_an_increase_without_a_record_of_the_stable_version_says_so() -> None:
    asked = analysis(maxLatencyIncrease={"p99": "20%"})
    server = Server("c", "candidate")
    seen = watch(asked, server)
    seen.reads(server.answers(10, 0, 10))
    sentences = [result.sentence for result in judge(asked, seen.evidence, HORIZON).results]
    assert sentences[-1].startswith("p99 (the stable version had too few requests to know its own) 0 % (no requests")


def test_differing_answers_fail_a_divergence_limit() -> None:
    asked = analysis(maxDivergence={"top1Disagreement": 0.02, "outputs": [{"name": "scores"}]})
    stable, candidate = Server("s", "stable"), Server("c", "candidate")
    seen = watch(asked, stable.answers(100, 0, 600), candidate)
    for _ in range(4):
        seen.reads(stable.answers(90), candidate.compares(10, 5, 0, seconds=10))
    judged = judge(asked, seen.evidence, HORIZON)
    assert (judged.outcome, judged.reason) == (Outcome.FAIL, "DivergenceExceeded")
    assert judged.message == "best class differs in 50 % (limit 2 %), 400 comparisons, fail"
    assert judged.results[-1].sentence.startswith("output scores differs in 0 % (limit 1 %), 400 comparisons")


def test_every_check_of_the_spec_is_asked() -> None:
    asked = analysis(
        maxLatency={"p50": "10ms", "p99.9": "1s"},
        maxLatencyIncrease={"p99": "20%"},
        maxDivergence={"outputs": [{"name": "scores", "maxShare": 0.1}]},
    )
    checks = checks_for(watch(asked).evidence)
    assert {check.name: (check.absolute, check.limit) for check in checks} == {
        "errors": (True, 0.01),
        "errorsIncrease": (False, 1.5),
        "latency/p50": (True, 0.5),
        "latency/p99.9": (True, 0.001),
        "latencyIncrease/p99": (False, 1.5),
        "output/scores": (True, 0.1),
    }


def test_with_fewer_requests_than_asked_for_nothing_is_decided() -> None:
    for fields in ({"minRequests": 101}, {"minRequests": 101, "confidence": 0, "failureLimit": 1}):
        story = Story(**fields).runs(1, own=10)
        assert story.judged.outcome == Outcome.UNDECIDED
        assert story.runs(1, own=10).judged.outcome == Outcome.FAIL


def test_more_confidence_asks_for_more_evidence() -> None:
    sure, surer = Story(confidence=0.9), Story(confidence=0.9999)
    for story in (sure, surer):
        story.runs(1).runs(1, own=1)
    assert sure.check("errors").e_fail == surer.check("errors").e_fail
    assert (sure.check("errors").verdict, surer.check("errors").verdict) == (Verdict.FAIL, Verdict.UNDECIDED)


def test_confidence_0_counts_failed_intervals() -> None:
    story = Story(confidence=0, failureLimit=2).runs(1, own=1)
    assert story.judged.outcome == Outcome.PASS
    assert story.runs(1, own=1).judged.outcome == Outcome.FAIL
    assert story.check("errors").e_fail == 1.0
    assert Story(confidence=0).judged.outcome == Outcome.UNDECIDED


def test_after_the_promotion_a_break_is_seen_without_the_old_version() -> None:
    story = Story(maxErrorRate=0.05).runs(12).promoted()
    assert story.runs(1).judged_promoted.outcome == Outcome.UNDECIDED
    assert story.runs(2, own=3).judged_promoted.outcome == Outcome.FAIL


def test_after_the_promotion_the_record_of_the_old_version_is_a_limit_too() -> None:
    story = Story(maxErrorRate=0.5).runs(30, own=0, stable=0).promoted().runs(6, own=1)
    judged = story.judged_promoted
    assert (judged.outcome, judged.reason) == (Outcome.FAIL, "ErrorRateIncreased")
    assert story.promoted().runs(6, own=1).judged.outcome != Outcome.PASS


def test_after_the_promotion_nobody_has_to_be_better_than_the_old_version_was() -> None:
    story = Story(before=20, maxErrorRate=0.01).promoted().runs(20, own=0).runs(1, own=1)
    errors = next(result for result in story.judged_promoted.results if result.check.name == "errors")
    assert errors.check.limit > 0.02
    assert story.judged_promoted.outcome == Outcome.UNDECIDED


def test_after_the_promotion_confidence_0_goes_on_counting() -> None:
    story = Story(confidence=0).runs(1).promoted().runs(2, own=1)
    assert story.judged_promoted.outcome == Outcome.FAIL


def test_without_a_record_only_the_limits_count_after_the_promotion() -> None:
    asked, server = analysis(), Server("c", "candidate")
    seen = watch(asked, server)
    seen.reads(server.answers(10, 0, 10))
    assert [result.check.name for result in judge_promoted(asked, seen.evidence, HORIZON).results] == ["errors"]


@pytest.mark.parametrize(
    ("choice", "own", "action"),
    [
        ("Promote", 0, AtDeadline.PROMOTE),
        ("Promote", 1, AtDeadline.ROLLBACK),
        ("Rollback", 0, AtDeadline.ROLLBACK),
        ("Wait", 1, AtDeadline.WAIT),
    ],
)
def test_the_deadline_decides_as_the_spec_says_with_the_numbers(choice: str, own: int, action: AtDeadline) -> None:
    story = Story(maxErrorRate=0.09, onInconclusive=choice).runs(1, own=own)
    decision = at_deadline(story.analysis, story.judged)
    assert decision.action == action
    assert "requests" in decision.message


def test_a_suspicious_guard_rolls_back_at_the_deadline() -> None:
    story = Story(maxErrorRate=0.5, onInconclusive="Promote").runs(1).runs(2, own=0)
    story.candidate.answers(10, 2, 3)
    story.watch.reads(story.stable, story.candidate)
    guard = story.check("errorsIncrease")
    assert guard.verdict == Verdict.UNDECIDED
    assert guard.e_fail > 10
    decision = at_deadline(story.analysis, story.judged)
    assert (decision.action, decision.message) == (AtDeadline.ROLLBACK, guard.sentence)


def test_a_rollout_that_nobody_uses_is_promoted_at_the_deadline() -> None:
    story = Story(onInconclusive="Promote")
    assert at_deadline(story.analysis, story.judged).action == AtDeadline.PROMOTE


def test_numbers_are_written_as_people_read_them() -> None:
    assert [figures(x) for x in (0, 0.00001, 0.0123456, 1.5, 1234.5)] == ["0", "0.00001", "0.0123", "1.5", "1,234"]
    assert (percent(21, 10_000), percent(0, 0), milliseconds(0.0823), times(1.5)) == (
        "0.21 %", "unknown", "82.3 ms", "1.5 times",
    )  # fmt: skip
