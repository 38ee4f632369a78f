"""How kstatus (Flux, kpt) computes the status of a custom resource, from its README and rules.

Asked in this order, the first that answers is believed: deletion, generation, the conditions Reconciling and Stalled in
their order in the list, the condition Ready; an object that says nothing of all that is Current.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """What kstatus may say of an object that exists."""

    IN_PROGRESS = "InProgress"
    CURRENT = "Current"
    FAILED = "Failed"
    TERMINATING = "Terminating"


Object = Mapping[str, Any]
Rule = Callable[[Object], Status | None]


def deletion(obj: Object) -> Status | None:
    return Status.TERMINATING if obj["metadata"].get("deletionTimestamp") else None


def generation(obj: Object) -> Status | None:
    wanted, seen = obj["metadata"].get("generation"), _status(obj).get("observedGeneration")
    known = wanted is not None and seen is not None  # without either there is nothing to compare
    return Status.IN_PROGRESS if known and wanted != seen else None


def standard_conditions(obj: Object) -> Status | None:
    words = {"Reconciling": Status.IN_PROGRESS, "Stalled": Status.FAILED}
    return next(
        (words[one["type"]] for one in _conditions(obj) if one["type"] in words and one["status"] == "True"), None
    )


def ready_condition(obj: Object) -> Status | None:
    ready = next((one["status"] for one in _conditions(obj) if one["type"] == "Ready"), None)
    return None if ready is None else Status.CURRENT if ready == "True" else Status.IN_PROGRESS


RULES: tuple[Rule, ...] = (deletion, generation, standard_conditions, ready_condition)


def kstatus(obj: Object) -> Status:
    """The status of one object, by what is in it alone."""
    return next((answer for rule in RULES if (answer := rule(obj))), Status.CURRENT)


def _status(obj: Object) -> Object:
    found: Object = obj.get("status") or {}
    return found


def _conditions(obj: Object) -> list[Object]:
    return list(_status(obj).get("conditions") or ())
