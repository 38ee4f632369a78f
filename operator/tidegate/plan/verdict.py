"""What the evidence says about a candidate: each check's verdict in a plain sentence, and what follows from all.

A check is *absolute* (the candidate's own share of bad events against a limit) or a *guard* (its rate against the
stable version's).  Absolute checks can pass; guards can only fail, since without bad events they know nothing.

    a check of the candidate fails, the stable version does not fail it     -> FAIL
    both versions fail it and the guard on the same events fails            -> FAIL
    both versions fail it and the guard does not                            -> SHARED (hold at the last lower weight)
    every absolute check passes                                             -> PASS
    else                                                                    -> UNDECIDED
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from tidegate.api.evidence import Evidence
from tidegate.api.rollout import Analysis


class Verdict(StrEnum):
    """What one check says."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"


class Outcome(StrEnum):
    """What all checks together say."""

    FAIL = "fail"  # go back now
    SHARED = "shared"  # both versions are bad alike: hold at the last lower weight until one recovers
    PASS = "pass"  # every absolute check has passed: 100 % is allowed
    UNDECIDED = "undecided"


class AtDeadline(StrEnum):
    """What is done with a rollout that is still undecided at its deadline."""

    PROMOTE = "Promote"
    ROLLBACK = "Rollback"
    WAIT = "Wait"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is asked of the candidate; `reason` is a stable code from docs/errors.md."""

    name: str  # errorRate, errorRateIncrease, latency/p99, latencyIncrease/p99, top1, output/scores
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


def checks_for(analysis: Analysis, evidence: Evidence) -> tuple[Check, ...]:
    """The checks that the spec asks for, errors first."""
    return ()


def judge(analysis: Analysis, evidence: Evidence, horizon: timedelta) -> Judgement:
    """What the evidence says now; `horizon` is how long it will be looked at (deadline + scaleDownDelay)."""
    return Judgement(Outcome.UNDECIDED, "", "", ())


def judge_promoted(analysis: Analysis, evidence: Evidence, horizon: timedelta) -> Judgement:
    """The same after promotion, when the stable version of before gets no traffic to compare with.

    FAIL asks for golden samples to the old version: `old_version_is_bad` says what they showed.
    """
    return Judgement(Outcome.UNDECIDED, "", "", ())


def at_deadline(analysis: Analysis, judgement: Judgement) -> Decision:
    """What `onInconclusive` makes of an undecided rollout."""
    return Decision(AtDeadline.WAIT, "")
