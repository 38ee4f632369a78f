"""What a person may ask for.  Apart from what is observed, because `tidegate status` has no time to load that."""

from __future__ import annotations

from enum import StrEnum


class Verb(StrEnum):
    """What a person may ask for, `serving.tidegate.io/<verb>: <revision>[/<step>]@<RFC3339 time>`."""

    PROMOTE = "promote"  # passes one manual gate, or ends the hold of the current step
    PROMOTE_FULL = "promote-full"  # 100 % as soon as the candidate has the servers for it
    ABORT = "abort"  # back to the stable version
    RETRY = "retry"  # forgets why the current spec was rejected
    PAUSE = "pause"
    RESUME = "resume"
    ROLLBACK_TO = "rollback-to"  # <revision> is the one to return to
    RESTART = "restart"  # a canary of the same bundle
