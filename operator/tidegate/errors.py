"""Every error that a user of Tidegate can meet, and the exit code each one ends a command with.

    TidegateError        what went wrong, where, and what to do; `reason` is a stable code of docs/errors.md
     ├─ UsageError       the command was called wrongly                exit 2
     ├─ Invalid          what a manifest or file says is impossible    exit 1, never retried unchanged
     ├─ Failed           it was tried and did not work                 exit 1
     ├─ Temporary        it may work later without any change          exit 5, retried
     └─ BundleError      (tidegate.bundle.errors)
         ├─ Unreachable  the store does not answer                     exit 5, retried
         ├─ Denied       credentials missing or wrong                  exit 1, retried slowly
         └─ Refused      the bytes are not what they claim             exit 1, never retried for this digest

Messages never hold credentials: whoever raises builds them from names, sizes and digests only.
"""

from __future__ import annotations


class TidegateError(Exception):
    """An error with a stable reason, a sentence, the place, and the next step for whoever reads it."""

    exit_code = 1
    reason = "Error"

    def __init__(self, what: str, *, where: str = "", do: str = "", reason: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.do = do
        if reason:
            self.reason = reason

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.what, self.do) if part)


class UsageError(TidegateError):
    """The command line does not make sense."""

    exit_code = 2
    reason = "Usage"


class Invalid(TidegateError):
    """Something a person wrote is impossible; trying again unchanged gives the same answer."""

    reason = "Invalid"


class Failed(TidegateError):
    """It was tried and did not work; the message says why."""

    reason = "Failed"


class Temporary(TidegateError):
    """It may work later without any change."""

    exit_code = 5
    reason = "Temporary"
