"""The one decision of the product: `plan(spec, status, observed, now)`.

Pure, total and deterministic: no clock, no I/O, and no status, however old, odd or lost, makes it raise.  The
same question gives the same answer, so that a crash between any two effects loses nothing: the next look
starts from what is there.
"""

from __future__ import annotations

from datetime import datetime

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.api.status import ModelDeploymentStatus
from tidegate.plan.observed import Observed
from tidegate.plan.wanted import Event, Plan, ResolveWanted, RevisionWanted, ShadowWanted

__all__ = ["Event", "Plan", "ResolveWanted", "RevisionWanted", "ShadowWanted", "plan"]


def plan(spec: ModelDeploymentSpec, status: ModelDeploymentStatus, observed: Observed, now: datetime) -> Plan:
    """What is wanted at `now` (timezone-aware), and the status to remember it by.

    The runner's loop: observe, plan, write `plan.status`, carry the plan out, sleep until `look_again` or until
    something changes.  A fresh deployment starts from `ModelDeploymentStatus()`.
    """
    raise RuntimeError((spec, status, observed, now))
