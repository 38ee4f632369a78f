"""Which versions have served or tried to: what a person can return to, and how attempts ended."""

from __future__ import annotations

from tidegate.api.status import MAX_HISTORY, HistoryEntry, RevisionStatus
from tidegate.plan.situation import Situation
from tidegate.plan.texts import code

PROMOTED = "Promoted"
ROLLED_BACK = "RolledBack"
REFUSED = "Refused"


def noted(s: Situation, version: RevisionStatus, outcome: str, reason: str = "") -> Situation:
    """The version's latest outcome at the end of the list; versions that served outlive failed attempts."""
    entry = HistoryEntry(
        revision=version.revision,
        number=version.number,
        digest=version.digest,
        version=version.version,
        outcome=outcome,
        reason=code(reason) if reason else "",
        at=s.now,
    )
    others = [known for known in s.status.history if known.revision != version.revision]
    return s.remember(history=_kept(s, [*others, entry]))


def served(s: Situation) -> frozenset[str]:
    """Revisions that were stable once and did not fail: what `rollback-to` may name."""
    return frozenset(known.revision for known in s.status.history if known.outcome == PROMOTED)


def _kept(s: Situation, entries: list[HistoryEntry]) -> tuple[HistoryEntry, ...]:
    limit = min(s.spec.rollout.history_limit + 1, MAX_HISTORY)  # and the one that serves
    promoted = [known for known in entries if known.outcome == PROMOTED][-limit:]
    room = min(limit, MAX_HISTORY - len(promoted))
    tried = [known for known in entries if known.outcome != PROMOTED]
    kept = {known.revision for known in (*promoted, *tried[len(tried) - min(room, len(tried)) :])}
    return tuple(known for known in entries if known.revision in kept)
