"""Which status is worth a write: decisions at once, figures at most once a minute.

Peers spend most of a rollout's writes on progress that can be read off elsewhere (32 of 45 in Argo Rollouts).  What a
crash may lose is one minute of evidence, and that is counted again: servers never forget.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from tidegate.api.status import Condition, ModelDeploymentStatus, RevisionStatus, RolloutStatus
from tidegate.plan.phases import Phase

FIGURES_EVERY = timedelta(minutes=1)
MOMENT = timedelta(seconds=1)
_NOW = timedelta(0)
_TOLD_OF_ROUTING = ("candidate", "rollout", "phase", "conditions")
_NO_ANSWER = {"value": None, "message": ""}
_NO_FIGURES = {"replicas": 0, "ready_replicas": 0, "realised_weight": None}


def write_after(
    written: ModelDeploymentStatus, planned: ModelDeploymentStatus, written_at: datetime | None, now: datetime
) -> timedelta | None:
    """How long `planned` may wait to be written; None when there is nothing to write, 0 when it must be now."""
    if planned == written:
        return None
    if (since := _routed_first(written, planned)) is not None:
        return max(_NOW, MOMENT - max(_NOW, now - since))
    if written_at is None or decisions(planned) != decisions(written):
        return _NOW
    return max(_NOW, FIGURES_EVERY - max(_NOW, now - written_at))


def _routed_first(written: ModelDeploymentStatus, planned: ModelDeploymentStatus) -> datetime | None:
    """Since when a first version is to get everything, where nothing else is new; None otherwise.

    It is stable a moment later, and one write tells of both.  Nobody served before it, so there is nobody from whom
    a second writer could take anything.
    """
    rollout, before, now = planned.rollout, written.candidate, planned.candidate
    if planned.stable or not (rollout and before and now and now.revision == before.revision):
        return None
    rest = planned.model_copy(update={name: getattr(written, name) for name in _TOLD_OF_ROUTING})
    routed = rollout.phase == Phase.SHIFTING and rollout.hold_reason == "Converging"
    return rollout.weight_asked_at if routed and rest == written else None


def decisions(status: ModelDeploymentStatus) -> ModelDeploymentStatus:
    """The status without its figures: what changes only when something was decided or came about."""
    return status.model_copy(
        update={
            "stable": _quiet(status.stable),
            "candidate": _quiet(status.candidate),
            "rollout": _without_figures(status.rollout),
            "conditions": tuple(_without_message(condition) for condition in status.conditions),
        }
    )


def _quiet(version: RevisionStatus | None) -> RevisionStatus | None:
    return version.model_copy(update=_NO_FIGURES) if version else None


def _without_figures(rollout: RolloutStatus | None) -> RolloutStatus | None:
    if rollout is None:
        return None
    queries = tuple(tally.model_copy(update=_NO_ANSWER) for tally in rollout.queries)  # failed ones are written at once
    figures = {"evidence": None, "measurements": None, "checks": (), "queried_at": None, "hold_message": ""}
    return rollout.model_copy(update={**figures, "queries": queries, "previous": _quiet(rollout.previous)})


def _without_message(condition: Condition) -> Condition:
    return condition.model_copy(update={"message": ""})
