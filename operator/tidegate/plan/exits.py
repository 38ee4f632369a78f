"""What ends a rollout before its time: each exit looks at one fact, the first that is true sends the candidate back.

A stable version without a ready server is nothing to go back to: then only a person or a content failure counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tidegate.plan.moves import refused
from tidegate.plan.observed import Failure, FailureClass
from tidegate.plan.rejected import blocked
from tidegate.plan.resolving import asks_for_proof, proof, resolving, unread
from tidegate.plan.situation import Situation
from tidegate.plan.verdict import Outcome

GONE = frozenset({"NotFound", "Unreachable", "Denied", "StoreTimeout"})


@dataclass(frozen=True, slots=True)
class End:
    """Why a rollout ends; `failure` None: it is no fault of the candidate."""

    failure: Failure | None
    why: str = ""


Exit = Callable[[Situation], End | None]


def superseded(s: Situation) -> End | None:
    proved_in_vain = asks_for_proof(s) and unread(s)  # no server was stopped for it yet
    if resolving(s) and s.rollout.cause == "Spec" and not proved_in_vain:
        return None
    if s.wish is not None and s.wish.record.revision == s.candidate:
        return None
    if s.trial.weight and not s.servers(s.stable).ready:
        return None
    if known := blocked(s, s.candidate):
        return End(None, f"rejected before: {known.reason}")
    return End(None, "the spec names another version")


def rules_refuse(s: Situation) -> End | None:
    """The acceptance rules may have been edited since the start."""
    named = s.wish if s.wish and s.wish.record.revision == s.candidate else None
    failure = refused(s, named) if named else None
    return End(failure) if failure else None


def target_is_gone(s: Situation) -> End | None:
    """A version to return to whose bundle nobody has any more: stay."""
    failure = s.servers(s.candidate).failure
    if failure is None or s.rollout.cause != "Rollback" or failure.reason not in GONE:
        return None
    return End(Failure(FailureClass.ENVIRONMENT, "BundleGone", failure.message))


def proof_fails(s: Situation) -> End | None:
    """No server was stopped for it yet, and none is."""
    answer = proof(s)
    return End(answer.failure) if answer and answer.failure else None


def content_is_wrong(s: Situation) -> End | None:
    failure = s.servers(s.candidate).failure
    if failure is None or failure.class_ != FailureClass.CONTENT:
        return None
    return End(failure)


def dies_under_requests(s: Situation) -> End | None:
    """Its own counters die with it, so no evidence would ever say so; each further life costs requests."""
    failure = s.servers(s.candidate).failure
    if failure is None or failure.reason != "CrashLoop" or not s.rollout.weight or not s.servers(s.stable).ready:
        return None
    return End(failure)


def evidence_fails(s: Situation) -> End | None:
    if s.judgement is None or s.judgement.outcome != Outcome.FAIL or not s.servers(s.stable).ready:
        return None
    return End(Failure(FailureClass.CONTENT, s.judgement.reason, s.judgement.message))


EXITS: tuple[Exit, ...] = (
    superseded,
    target_is_gone,
    proof_fails,
    content_is_wrong,
    rules_refuse,
    dies_under_requests,
    evidence_fails,
)


def end(s: Situation) -> End | None:
    """The first reason to go back; a paused rollout never does by itself."""
    if s.frozen:
        return None
    for leave in EXITS:
        if reason := leave(s):
            return reason
    return None


def timed_out(hold_reason: str, hold_message: str, waited: str) -> Failure:
    """The platform did not give what the rollout needs within `progressDeadline`."""
    return Failure(FailureClass.ENVIRONMENT, hold_reason, f"{hold_message}; waited {waited}")
