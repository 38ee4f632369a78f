"""The words for where a rollout stands; what leads from one to the other is the table in rollout.py."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """Where a rollout stands."""

    PROVING = "Proving"  # the candidate's servers start and prove themselves; no request reaches it
    SHIFTING = "Shifting"  # a weight was asked for and is not seen in the counts yet
    HOLDING = "Holding"  # the weight is real; time and evidence decide about the next
    RETURNING = "Returning"  # everything goes back to the stable version; the candidate goes when that is confirmed
    WATCHING = "Watching"  # promoted; the old version stays warm and the checks go on
    FAILED = "Failed"  # a first deployment did not come up; its servers are kept for a look


ACTIVE = frozenset({Phase.PROVING, Phase.SHIFTING, Phase.HOLDING})


class Surge(StrEnum):
    """In whose place a candidate's servers start; room.py chooses."""

    AUTO = "Auto"  # not known yet: the scheduler is asked
    PROVE = "Prove"  # in place of others, once the whole bundle is proved
    SURGE = "Surge"  # beside the stable version's
    REPLACE = "Replace"  # in place of the stable version's


class Settled(StrEnum):
    """Where a deployment stands without a rollout."""

    SERVING = "Serving"
    RESOLVING = "Resolving"
    REFUSED = "Refused"
