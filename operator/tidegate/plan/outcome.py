"""Where a deployment stands: what `tidegate wait` waits for, and how a run with `--once` ends."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from tidegate.api.status import ModelDeploymentStatus
from tidegate.errors import Failed, Temporary


class NotYet(Temporary):
    """It did not happen within the time that was given."""

    reason = "Timeout"


class Outcome(IntEnum):
    """The exit codes of `tidegate run --once`; the highest of several deployments is the run's, 1 before all."""

    SERVING = 0  # promoted: what the manifest asks for serves
    FAILED = 1  # refused, and nothing serves
    RETURNED = 3  # refused or rolled back while the stable version serves
    UNSETTLED = 4  # not decided before --timeout
    TEMPORARY = 5  # nothing serves for want of something that may come: a retry may help


def holds(status: ModelDeploymentStatus, name: str) -> bool:
    return any(condition.type == name and condition.status == "True" for condition in status.conditions)


def outcome(status: ModelDeploymentStatus, generation: int) -> Outcome:
    """Where one deployment stands; a status of an older spec says nothing about this one."""
    if status.observed_generation != generation:
        return Outcome.UNSETTLED
    if holds(status, "Stalled"):
        return Outcome.RETURNED if holds(status, "Ready") else refused(status)
    if holds(status, "Promoted") and holds(status, "Ready"):
        return Outcome.SERVING
    return Outcome.UNSETTLED


def refused(status: ModelDeploymentStatus) -> Outcome:
    """Why nothing serves: the bytes, for good, or something around them."""
    reasons = {condition.reason for condition in status.conditions if condition.type == "Stalled"}
    classes = {known.class_ for known in status.rejected if known.reason in reasons}
    return Outcome.TEMPORARY if classes == {"Environment"} else Outcome.FAILED


def overall(outcomes: Iterable[Outcome]) -> Outcome:
    found = list(outcomes)
    return Outcome.FAILED if Outcome.FAILED in found else max(found, default=Outcome.SERVING)


def settled(outcomes: Iterable[Outcome]) -> bool:
    return Outcome.UNSETTLED not in outcomes


def awaited(name: str, status: ModelDeploymentStatus, generation: int, wanted: str) -> str | None:
    """How a wait for `promoted`, `ready` or `settled` ends, as a sentence; None while it is undecided.

    Raises Failed when the version was refused or rolled back, and that is not what was waited for.
    """
    now = outcome(status, generation)
    if now is Outcome.UNSETTLED and wanted == "ready" and holds(status, "Ready"):
        now = Outcome.SERVING
    if now in (Outcome.UNSETTLED, Outcome.SERVING):
        return f"{name} is {wanted}" if now is Outcome.SERVING else None
    why = why_stalled(status)
    if wanted == "settled" or (wanted == "ready" and now is Outcome.RETURNED):
        return f"{name} is {wanted}: {why}"
    raise Failed(why, where=name, reason="Rejected")


def why_stalled(status: ModelDeploymentStatus) -> str:
    return next((f"{one.reason}: {one.message}" for one in status.conditions if one.type == "Stalled"), status.phase)
