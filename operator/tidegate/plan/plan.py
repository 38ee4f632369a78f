"""The one decision of the product: `plan(spec, status, observed, now)`.

Pure, total and deterministic: no clock, no I/O, and no status, however old, odd or lost, makes it raise.  The
same question gives the same answer, so that a crash between any two effects loses nothing: the next look
starts from what is there.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.api.status import ModelDeploymentStatus
from tidegate.plan.conditions import conclude
from tidegate.plan.deciding import keep_figures, write_down
from tidegate.plan.demand import demanded
from tidegate.plan.describing import describe
from tidegate.plan.heeding import heed
from tidegate.plan.measuring import measure
from tidegate.plan.memory import recover, straighten
from tidegate.plan.observed import Observed
from tidegate.plan.resolving import choose, resolve
from tidegate.plan.rollout import advance, stable_lost
from tidegate.plan.situation import Situation
from tidegate.plan.wanted import Event, Plan, ResolveWanted, RevisionWanted, ShadowWanted

__all__ = ["Event", "Plan", "ResolveWanted", "RevisionWanted", "ShadowWanted", "plan"]

STAGES: tuple[Callable[[Situation], Situation], ...] = (
    recover,  # a lost status, from the front
    straighten,  # a status that contradicts itself
    resolve,  # what the spec names
    measure,  # what was counted since the last look, under the weights of then
    keep_figures,  # for whoever asks what a decision stood on
    heed,  # what people ask for
    stable_lost,  # the one jump
    advance,  # the rollout's table
    choose,  # what is still to be done, for the conditions
    describe,
    conclude,
)


def plan(spec: ModelDeploymentSpec, status: ModelDeploymentStatus, observed: Observed, now: datetime) -> Plan:
    """What is wanted at `now` (timezone-aware), and the status to remember it by.

    The runner's loop: observe, plan, write `plan.status`, carry the plan out, sleep until `look_again` or until
    something changes.  A fresh deployment starts from `ModelDeploymentStatus()`.
    """
    situation = Situation(spec, status, observed, now)
    for stage in STAGES:
        situation = stage(situation)
    return demanded(write_down(situation, status))
