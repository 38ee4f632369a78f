"""What was refused or rolled back, and when it may be tried again.

Content   not again until the key changes (another bundle, runtime, acceptance or analysis) or a person says `retry`
Command   the same: a person sent it back
Environment   again after 1, 2, 4 … 60 minutes, for ever, and at once when what was missing changes
"""

from __future__ import annotations

from datetime import timedelta

from tidegate.api.status import MAX_REJECTED, RejectedRevision
from tidegate.plan.observed import Failure, FailureClass
from tidegate.plan.revision import rejection_key
from tidegate.plan.situation import Situation
from tidegate.plan.texts import code, sentence

FIRST_BACKOFF = timedelta(minutes=1)
LONGEST_BACKOFF = timedelta(hours=1)
MOST_AROUND = 80  # characters


def backoff(attempts: int) -> timedelta:
    """How long to wait after that many failed attempts."""
    return min(FIRST_BACKOFF * (1 << min(attempts - 1, 10)), LONGEST_BACKOFF)


def entry(s: Situation, subject: str) -> RejectedRevision | None:
    """What is remembered against a revision (or a bundle's resolve key) under the current rules."""
    if not s.status.rejected:
        return None
    key = rejection_key(subject, s.spec)
    return next((known for known in s.status.rejected if known.key == key), None)


def blocked(s: Situation, subject: str) -> RejectedRevision | None:
    """The rejection that stands in the way now; None when it may be tried."""
    known = entry(s, subject)
    if known is None or known.class_ != FailureClass.ENVIRONMENT.value:
        return known
    changed = known.environment != _environment(s)
    return None if changed or known.retry_at is None or s.now >= known.retry_at else known


def reject(s: Situation, subject: str, failure: Failure) -> Situation:
    """Remember that `subject` failed; the oldest of too many is forgotten."""
    known = entry(s, subject)
    attempts = known.attempts + 1 if known else 1
    lasting = failure.class_ != FailureClass.ENVIRONMENT
    rejected = RejectedRevision(
        key=rejection_key(subject, s.spec),
        class_=failure.class_.value,
        reason=code(failure.reason),
        message=sentence(failure.message),
        at=s.now,
        attempts=attempts,
        environment=_environment(s),
        retry_at=None if lasting else s.now + backoff(attempts),
    )
    others = [other for other in s.status.rejected if other.key != rejected.key]
    return s.remember(rejected=(*others, rejected)[-MAX_REJECTED:])


def forgive(s: Situation, subject: str) -> Situation:
    """Forget what was held against `subject` under any rules."""
    kept = tuple(known for known in s.status.rejected if not known.key.startswith(f"{subject}-"))
    return s.remember(rejected=kept) if len(kept) != len(s.status.rejected) else s


def _environment(s: Situation) -> str:
    """What is around a version, and the room that its spec gives it: `GPUUnavailable` asks for an edit of that."""
    surge, downtime = s.spec.rollout.surge, s.spec.rollout.allow_downtime
    room = f"{surge} {'with' if downtime else 'without'} downtime from {s.spec.scaling.min_replicas}"
    return f"{s.observed.environment[:MOST_AROUND]} {room}"
