"""What the evidence says about a candidate: each check's verdict in a plain sentence, and what follows from all.

A check is *absolute* (the candidate's own share of bad events against a limit) or a *guard* (its rate against the
stable version's).  Absolute checks can pass; guards can only fail, since without bad events they know nothing.

    a check of the candidate fails, the stable version is within its limit  -> FAIL
    the stable version is above it too, the guard on the same events fails  -> FAIL
    the stable version is above it too, the guard does not fail             -> SHARED (hold at the last lower weight)
    every absolute check passes                                             -> PASS
    else                                                                    -> UNDECIDED

A candidate that has had fewer than `minRequests` is undecided, whatever they were.
`confidence` is the chance, over the whole rollout and all checks together, that a version within its limits is not
rolled back; `confidence: 0` compares each interval plainly and counts the failed ones.  Queries to Prometheus are
always judged so (queries.py); they join the others as absolute checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from math import exp, sqrt

from tidegate.api.evidence import Evidence, Tally
from tidegate.api.rollout import Analysis
from tidegate.plan.analysis import (
    Exposure,
    Levels,
    Story,
    Sums,
    Tested,
    absolute_test,
    guard_test,
    levels,
    rate_upper_bound,
)
from tidegate.plan.signals import ERRORS, LATENCY, QUERY, TOP1, allowed_share, is_comparison
from tidegate.plan.wording import figures, milliseconds, percent, times

LARGEST_LOG = 690.0  # e^690 still fits in a number


class Verdict(StrEnum):
    """What one check says."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    UNDECIDED = "undecided"


class Outcome(StrEnum):
    """What all checks together say."""

    FAIL = "fail"  # go back now
    SHARED = "shared"  # both versions are bad alike: hold at the last lower weight until one recovers
    PASS = "pass"  # noqa: S105 - every absolute check has passed: 100 % is allowed
    UNDECIDED = "undecided"


class AtDeadline(StrEnum):
    """What is done with a rollout that is still undecided at its deadline."""

    PROMOTE = "Promote"
    ROLLBACK = "Rollback"
    WAIT = "Wait"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is asked of the candidate; `reason` is a stable code from docs/errors.md."""

    name: str  # errors, errorsIncrease, latency/p99, latencyIncrease/p99, top1, output/scores, query/gpu-memory
    title: str  # as the person reads it: "error rate", "slower than 80 ms"
    reason: str
    signal: int  # where its counts stand in the lists of the evidence
    absolute: bool
    limit: float  # a share for absolute checks, a rate ratio for guards


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check says, with its numbers; `sentence` is complete in itself."""

    check: Check
    verdict: Verdict
    sentence: str
    requests: int
    bad: int
    stable_requests: int
    stable_bad: int
    e_fail: float = 0.0  # evidence that the limit is exceeded; at confidence 0 both are 0
    e_pass: float = 0.0  # evidence that it is kept
    shared: bool = False  # fails for both versions alike
    outside: bool = False  # of a query: its last value is outside the limits


@dataclass(frozen=True, slots=True)
class Judgement:
    """What all checks together say; `reason` is the first failing check's, `message` says why in one sentence."""

    outcome: Outcome
    reason: str
    message: str
    results: tuple[CheckResult, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens at the deadline, and the numbers that decided it."""

    action: AtDeadline
    message: str


# What is asked.


def checks_for(evidence: Evidence) -> tuple[Check, ...]:
    """The checks that the evidence was begun for, errors first."""
    checks = []
    for place, name in enumerate(evidence.signals):
        if evidence.ceilings[place]:
            checks.append(Check(name, _title(name, evidence), _reason(name), place, True, evidence.ceilings[place]))
        if evidence.ratios[place]:
            checks.append(_guard(name, place, evidence))
    return tuple(checks)


def _guard(name: str, place: int, evidence: Evidence) -> Check:
    own = "errorsIncrease" if name == ERRORS else name
    reason = "ErrorRateIncreased" if name == ERRORS else "LatencyIncreased"
    return Check(own, _title(name, evidence), reason, place, False, evidence.ratios[place])


def _reason(signal: str) -> str:
    if signal == ERRORS:
        return "ErrorRateExceeded"
    return "LatencyExceeded" if signal.startswith(LATENCY) else "DivergenceExceeded"


def _title(signal: str, evidence: Evidence) -> str:
    if signal == ERRORS:
        return "error rate"
    kind, _, what = signal.partition("/")
    if is_comparison(signal):
        return "best class differs in" if kind == TOP1 else f"output {what} differs in"
    limit = next(limit for limit in evidence.limits if limit.signal == signal)
    if not limit.seconds:
        return f"{what} (the stable version had too few requests to know its own)"
    own = f" (stable version's {milliseconds(limit.stable_seconds)})" if limit.stable_seconds else ""
    return f"{what} of {milliseconds(limit.seconds)}{own} exceeded by"


# One check.


def _sums(tally: Tally, place: int, signal: str) -> Sums:
    compared = is_comparison(signal)
    return Sums(
        n=tally.compared if compared else tally.requests,
        bad=tally.bad[place] if tally.bad else 0,
        squares=tally.squares[place] if tally.squares else 0.0,
        bins=tally.compared_bins if compared else tally.bins,
        block_squares=tally.block_squares[place] if tally.block_squares else 0.0,
        blocks=tally.compared_blocks if compared else tally.blocks,
    )


def story_of(evidence: Evidence, place: int) -> Story:
    """All that is known about one kind of bad event."""
    signal = evidence.signals[place]
    segments = [
        Exposure(
            s.stable_requests,
            s.stable_bad[place] if s.stable_bad else 0,
            s.candidate_requests,
            s.candidate_bad[place] if s.candidate_bad else 0,
        )
        for s in evidence.segments
    ]
    return Story(
        before=_sums(evidence.before, place, signal),
        stable=_sums(evidence.stable, place, signal),
        candidate=_sums(evidence.candidate, place, signal),
        recent=[(_sums(i.stable, place, signal), _sums(i.candidate, place, signal)) for i in evidence.recent],
        intervals=evidence.intervals,
        segments=segments,
    )


def _tested(check: Check, evidence: Evidence, level: Levels, analysis: Analysis) -> CheckResult:
    story = story_of(evidence, check.signal)
    allowed = allowed_share(evidence.signals[check.signal])
    if not check.absolute:
        return _result(check, evidence, guard_test(story, check.limit, allowed, level), analysis)
    tested = absolute_test(story, check.limit, level)
    shared = tested.alike and not guard_test(story, analysis.max_error_rate_increase, allowed, level).fails
    return _result(check, evidence, tested, analysis, shared=shared)


def _compared(check: Check, evidence: Evidence, analysis: Analysis) -> CheckResult:
    """The plain comparison: so many intervals beyond the limit are a failure."""
    failed = (evidence.exceeded if check.absolute else evidence.increased)[check.signal]
    fails = fails_too_often(failed, analysis)
    passes = check.absolute and not fails and evidence.intervals > 0
    return _result(check, evidence, Tested(fails, passes, 0.0, 0.0), analysis)


def fails_too_often(failed: int, analysis: Analysis) -> bool:
    """What `failureLimit` means, wherever intervals are compared plainly."""
    return failed >= analysis.failure_limit


def _result(
    check: Check, evidence: Evidence, tested: Tested, analysis: Analysis, *, shared: bool = False
) -> CheckResult:
    signal = evidence.signals[check.signal]
    own, stable = (_sums(tally, check.signal, signal) for tally in (evidence.candidate, evidence.stable))
    verdict = Verdict.FAIL if tested.fails else Verdict.PASS if tested.passes else Verdict.UNDECIDED
    if own.n < analysis.min_requests:
        verdict = Verdict.UNDECIDED
    return CheckResult(
        check=check,
        verdict=verdict,
        sentence=f"{_numbers(check, evidence, own, stable)}, {verdict.value}",
        requests=own.n,
        bad=own.bad,
        stable_requests=stable.n,
        stable_bad=stable.bad,
        e_fail=exp(min(tested.log_fail, LARGEST_LOG)),
        e_pass=exp(min(tested.log_pass, LARGEST_LOG)),
        shared=shared,
    )


def _numbers(check: Check, evidence: Evidence, own: Sums, stable: Sums) -> str:
    what = "comparisons" if is_comparison(evidence.signals[check.signal]) else "requests"
    if check.absolute:
        return f"{check.title} {percent(own.bad, own.n)} (limit {figures(check.limit * 100)} %), {own.n:,} {what}"
    if not stable.n:
        against = "no requests of the stable version to compare with"
    else:
        against = f"stable version {percent(stable.bad, stable.n)}, limit {times(check.limit)}"
    return f"{check.title} {percent(own.bad, own.n)} ({against}), {own.n:,} {what}"


# All of them.


def judge(analysis: Analysis, evidence: Evidence, horizon: timedelta) -> Judgement:
    """What the evidence says now; `horizon` is how long it will be looked at (deadline + scaleDownDelay)."""
    checks = checks_for(evidence)
    if not analysis.confidence:
        return _concluded([_compared(check, evidence, analysis) for check in checks])
    level = _levels(analysis, len(checks), horizon)
    return _concluded([_tested(check, evidence, level, analysis) for check in checks])


def judge_promoted(analysis: Analysis, evidence: Evidence, horizon: timedelta) -> Judgement:
    """The same after the promotion, on evidence that `watch` began: the old version gets no traffic to compare with.

    Its record takes its place: an absolute limit is never stricter than what it did itself, and a guard becomes an
    absolute check of what its record allows.
    """
    checks = checks_for(evidence)
    if not analysis.confidence:
        return _concluded([_compared(check, evidence, analysis) for check in checks])
    asked = [on_record for check in checks if (on_record := _on_record(check, evidence)).limit < 1]
    level = _levels(analysis, len(asked), horizon)
    tested = [(check, absolute_test(story_of(evidence, check.signal), check.limit, level)) for check in asked]
    return _concluded([_result(check, evidence, result, analysis) for check, result in tested])


def joined(judgement: Judgement, more: Sequence[CheckResult]) -> Judgement:
    """The judgement with other checks' results."""
    return _concluded([*judgement.results, *more]) if more else judgement


def _on_record(check: Check, evidence: Evidence) -> Check:
    record = story_of(evidence, check.signal).before
    if not check.absolute:
        allowed = allowed_share(evidence.signals[check.signal])
        return replace(check, absolute=True, limit=max(allowed, check.limit * rate_upper_bound(record)))
    if record.bad <= record.n * check.limit:
        return check
    return replace(check, limit=max(check.limit, rate_upper_bound(record)))


def _levels(analysis: Analysis, checks: int, horizon: timedelta) -> Levels:
    return levels((1 - analysis.confidence) / max(1, checks), -(-horizon // analysis.interval))


def _concluded(results: list[CheckResult]) -> Judgement:
    """The table at the head of this module."""
    failed = [result for result in results if result.verdict == Verdict.FAIL]
    own = next((result for result in failed if not result.shared), None)
    if own:
        return Judgement(Outcome.FAIL, own.check.reason, own.sentence, tuple(results))
    if failed:
        message = f"both versions alike: {failed[0].sentence}"
        return Judgement(Outcome.SHARED, "SharedDegradation", message, tuple(results))
    absolute = [result for result in results if result.check.absolute]
    undecided = [result for result in absolute if result.verdict == Verdict.UNDECIDED]
    said = "; ".join(result.sentence for result in undecided or absolute)
    if undecided:
        return Judgement(Outcome.UNDECIDED, "Undecided", said, tuple(results))
    return Judgement(Outcome.PASS, "Passed", said, tuple(results))


# The deadline.


def at_deadline(analysis: Analysis, judgement: Judgement) -> Decision:
    """What `onInconclusive` makes of an undecided rollout; the message has the numbers that decide."""
    if analysis.on_inconclusive == "Wait":
        return Decision(AtDeadline.WAIT, judgement.message)
    if analysis.on_inconclusive == "Rollback":
        return Decision(AtDeadline.ROLLBACK, judgement.message)
    suspicious = 1 / sqrt(1 - analysis.confidence)
    for result in judgement.results:
        if _leans_to_failure(result, suspicious):
            return Decision(AtDeadline.ROLLBACK, result.sentence)
    return Decision(AtDeadline.PROMOTE, judgement.message)


def _leans_to_failure(result: CheckResult, suspicious: float) -> bool:
    if result.check.name.startswith(QUERY):
        return result.outside
    if result.check.absolute:
        return result.bad > result.requests * result.check.limit
    return result.e_fail > suspicious
