"""What this plan decided, written down: one entry for each decision, with who decided and the numbers it stood on.

Entries follow from the status before and after and from what was told, so that the same plan made again, after a
conflict or a crash, gives the same entries, and a plan that decides nothing gives none.  Their number counts on in the
status, which is written by compare-and-swap: only the plan that was written has decided anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tidegate.api.decision import Decider, Decision, Standing
from tidegate.api.status import ModelDeploymentStatus, RolloutStatus
from tidegate.plan.phases import Phase
from tidegate.plan.situation import Situation
from tidegate.plan.texts import code, shortened
from tidegate.plan.wanted import Event

LONGEST_WHY = 512
LONGEST_NAME = 128
FIGURES_OF = (Phase.SHIFTING, Phase.HOLDING, Phase.WATCHING, Phase.RETURNING)


def keep_figures(s: Situation) -> Situation:
    """The rollout as it was just measured: what a decision stands on, also when it ends the rollout."""
    return replace(s, measured=s.status.rollout)


def write_down(s: Situation, before: ModelDeploymentStatus) -> Situation:
    """The situation with its decisions, and their number in the status."""
    s = _entered(s, before)
    told = s.events or tuple(_untold(s, before))
    made = tuple(_decision(s, before, event, place) for place, event in enumerate(told, before.decisions + 1))
    return replace(s.remember(decisions=before.decisions + len(made)), decisions=made)


def _entered(s: Situation, before: ModelDeploymentStatus) -> Situation:
    """Since when the rollout is where it is."""
    was, now = before.rollout, s.status.rollout
    if now is None:
        return s
    stays = was is not None and (was.phase, was.weight, was.began_at) == (now.phase, now.weight, now.began_at)
    return s if stays and now.entered_at else s.in_rollout(entered_at=s.now)


def standing(status: ModelDeploymentStatus) -> Standing:
    rollout, candidate = status.rollout or RolloutStatus(), status.candidate
    return Standing(
        phase=status.phase,
        stable=status.stable.revision if status.stable else "",
        candidate=candidate.revision if candidate else "",
        step=rollout.step,
        weight=candidate.weight if candidate else 0,
        hold=rollout.hold_reason,
    )


def _untold(s: Situation, before: ModelDeploymentStatus) -> Iterator[Event]:
    """Decisions that are no news for the cluster's events: a weight that came true, a hold, the end of a watch."""
    was, now = before.rollout or RolloutStatus(), s.rollout
    if was.phase and not now.phase:
        yield Event("Normal", "Settled", "the version that gets no requests goes", _leaves(before))
    elif was.phase == Phase.SHIFTING and now.phase == Phase.HOLDING:
        message = f"{s.trial.weight} % is what the version gets now"
        yield Event("Normal", "WeightReached", f"{message}; {_hold(now)}" if now.hold_reason else message, s.candidate)
    elif now.hold_reason and now.hold_reason != was.hold_reason and not (s.first and now.phase == Phase.SHIFTING):
        # A first version's share is no decision: it gets everything, and its status is written a moment later.
        yield Event("Normal", "Held", _hold(now), s.candidate or s.stable)


def _leaves(before: ModelDeploymentStatus) -> str:
    rollout = before.rollout or RolloutStatus()
    gone = rollout.previous if rollout.phase == Phase.WATCHING else before.candidate
    return gone.revision if gone else ""


def _hold(rollout: RolloutStatus) -> str:
    return f"{rollout.hold_reason}: {rollout.hold_message}" if rollout.hold_message else rollout.hold_reason


def _decision(s: Situation, before: ModelDeploymentStatus, event: Event, number: int) -> Decision:
    measured = s.measured or RolloutStatus()
    figures = measured.measurements if measured.phase in FIGURES_OF else None
    return Decision(
        number=number,
        at=s.now,
        type="Warning" if event.type == "Warning" else "Normal",
        reason=code(event.reason),
        message=shortened(event.message, LONGEST_WHY),
        revision=event.revision,
        generation=s.observed.generation,
        by=_decider(s, event),
        before=standing(before),
        after=standing(s.status),
        # A hold's own sentence has its numbers, and holds are many.
        checks=measured.checks if figures and event.reason != "Held" else (),
        stable=figures.stable if figures else None,
        candidate=figures.candidate if figures else None,
    )


def _decider(s: Situation, event: Event) -> Decider:
    if not event.command:
        return Decider()
    value = event.command.partition(" ")[2]
    name = s.observed.asked_by.removeprefix(f"{value} ") if s.observed.asked_by.startswith(f"{value} ") else ""
    return Decider(kind="Person", name=shortened(name, LONGEST_NAME), command=event.command)
