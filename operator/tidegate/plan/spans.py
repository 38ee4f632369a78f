"""A rollout as a trace: one span of it all, one for each phase and weight, and in that one of what the checks said.

Spans follow from the status before and after, whose times outlive an operator: whoever writes the status that ends a
phase has all there is to tell of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tidegate.api.decision import Decision
from tidegate.api.status import ModelDeploymentStatus, RolloutStatus
from tidegate.plan.phases import Phase
from tidegate.plan.wanted import Plan

ROLLOUT, ANALYSIS = "rollout", "analysis"
VERDICTS = frozenset({"Promoted", "RolledBack", "RolloutEnded"})


@dataclass(frozen=True, slots=True)
class Span:
    """A time that is over; `parts` are within it."""

    name: str
    began: datetime
    ended: datetime
    attributes: Mapping[str, str | int | float]
    failed: bool = False
    parts: tuple[Span, ...] = field(default=())


def trace_name(uid: str, status: ModelDeploymentStatus) -> str:
    """What the rollout's trace is made of, the same for every operator; empty where none runs."""
    began = status.rollout.began_at if status.rollout else None
    return f"{uid}/{began.isoformat()}" if began else ""


def ended_spans(before: ModelDeploymentStatus, plan: Plan, now: datetime) -> tuple[Span, ...]:
    """What has come to its end with this plan: a phase, and with the last one the rollout."""
    was, is_now = before.rollout, plan.status.rollout
    if was is None or was.began_at is None:
        return ()
    over = is_now is None or is_now.began_at != was.began_at
    if is_now and not over and (was.phase, was.weight) == (is_now.phase, is_now.weight):
        return ()
    phase = _phase(before, was, plan.decisions, now)
    return (phase, _whole(before, was, plan.decisions, now)) if over else (phase,)


def _phase(before: ModelDeploymentStatus, was: RolloutStatus, made: tuple[Decision, ...], now: datetime) -> Span:
    began = was.entered_at or was.began_at or now
    attributes = {**_about(before, was), "tidegate.weight": was.weight, "tidegate.step": was.step}
    if made:
        attributes |= {"tidegate.decision": made[-1].reason, "tidegate.decision.message": made[-1].message}
    checks = next((one.checks for one in reversed(made) if one.checks), ())
    said: dict[str, str | int | float] = {
        f"tidegate.check.{check.name}": f"{check.verdict}: {check.message}" for check in checks
    }
    judged = (Span(ANALYSIS, max(began, was.step_started_at or began), now, said),) if said else ()
    return Span(was.phase.lower(), began, now, attributes, _failed(made), judged)


def _whole(before: ModelDeploymentStatus, was: RolloutStatus, made: tuple[Decision, ...], now: datetime) -> Span:
    verdict = next((one.reason for one in made if one.reason in VERDICTS), "")
    returned = was.phase in (Phase.RETURNING, Phase.FAILED)
    outcome = verdict or ("Promoted" if was.phase == Phase.WATCHING else was.hold_reason)
    attributes = {**_about(before, was), "tidegate.outcome": outcome}
    return Span(ROLLOUT, was.began_at or now, now, attributes, returned or _failed(made))


def _failed(made: tuple[Decision, ...]) -> bool:
    return any(one.reason in VERDICTS and one.type == "Warning" for one in made)


def _about(before: ModelDeploymentStatus, was: RolloutStatus) -> dict[str, str | int | float]:
    tried = before.stable if was.phase == Phase.WATCHING else before.candidate
    return {
        "tidegate.cause": was.cause,
        "tidegate.revision": tried.revision if tried else "",
        "tidegate.version": tried.version if tried else "",
    }
