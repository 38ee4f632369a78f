"""How a run with `--once` ends: when every deployment is settled, and the exit code that says how."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from tidegate.api.status import ModelDeploymentStatus


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
