"""After promotion: the old version stays warm for `scaleDownDelay`, and the checks go on.

When the new version fails now, golden samples go to the old one first: if that fails too, the fault is shared and
going back would help nobody.
"""

from __future__ import annotations

from datetime import timedelta

from tidegate.plan import moves
from tidegate.plan.observed import Failure, FailureClass
from tidegate.plan.situation import Situation
from tidegate.plan.texts import sentence
from tidegate.plan.verdict import Outcome

SAMPLES_OF_OLD = 3
OLD_MUST_ANSWER_WITHIN = timedelta(seconds=10)
GONE_AFTER = timedelta(seconds=30)


def watching(s: Situation) -> Situation:
    if s.wish is not None:
        if s.wish.record.revision == s.previous and s.servers(s.previous).ready:
            return moves.return_to_previous(s, None)
        if not _old_is_alone(s):
            return moves.settle(s)
    if s.paused:
        return s
    s = _down_since(s)
    failure = _gone(s) or _failed(s)
    if failure and s.servers(s.previous).ready:
        return _checked(s, failure)
    if _over(s) and not _old_is_alone(s):
        return moves.settle(s)
    return _unchecked(s) if failure is None else s


def _old_is_alone(s: Situation) -> bool:
    """Whether only the old version could answer anybody: then neither its time nor a new wish ends it."""
    return not s.servers(s.stable).ready and s.servers(s.previous).ready > 0


def _over(s: Situation) -> bool:
    return s.rollout.until is None or s.now >= s.rollout.until


def _down_since(s: Situation) -> Situation:
    down = None if s.servers(s.stable).ready else s.rollout.stable_down_since or s.now
    return s.in_rollout(stable_down_since=down) if down != s.rollout.stable_down_since else s


def _gone(s: Situation) -> Failure | None:
    since, failure = s.rollout.stable_down_since, s.servers(s.stable).failure
    hopeless = failure is not None and failure.reason == "CrashLoop"
    if since is None or (s.elapsed(since) < GONE_AFTER and not hopeless):
        return None
    return Failure(FailureClass.ENVIRONMENT, "StableLost", "no server of the new version is ready")


def _failed(s: Situation) -> Failure | None:
    if s.judgement is None or s.judgement.outcome != Outcome.FAIL:
        return None
    return Failure(FailureClass.CONTENT, "FailedAfterPromotion", s.judgement.message)


def _checked(s: Situation, failure: Failure) -> Situation:
    """Ask the old version first, where golden samples can: it must be better."""
    rollout, old = s.rollout, s.record(s.previous)
    if failure.reason == "StableLost" or rollout.evidence is None or old is None or not old.resolution.has_golden:
        return moves.return_to_previous(s, failure)
    asked = rollout.evidence.synthetic
    if rollout.checked_old_at is None:
        return s.in_rollout(
            checked_old_at=s.now, checked_old_requests=asked.stable_requests, checked_old_bad=asked.stable_bad
        )
    answered = asked.stable_requests - rollout.checked_old_requests
    if asked.stable_bad > rollout.checked_old_bad:
        message = f"the old version fails its golden samples too; {failure.message}"
        held = _unchecked(s).in_rollout(hold_reason="SharedDegradation", hold_message=sentence(message))
        return moves.settle(s) if _over(s) else held
    if answered >= SAMPLES_OF_OLD or s.elapsed(rollout.checked_old_at) >= OLD_MUST_ANSWER_WITHIN:
        return moves.return_to_previous(s, failure)
    return s


def _unchecked(s: Situation) -> Situation:
    if s.rollout.checked_old_at is None and not s.rollout.hold_reason:
        return s
    return s.in_rollout(checked_old_at=None, **moves.NO_HOLD)
