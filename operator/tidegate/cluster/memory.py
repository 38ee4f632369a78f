"""What the operator knows of a deployment beyond the API server; losing it costs a minute of figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from tidegate.api.status import ModelDeploymentStatus
from tidegate.plan.manifests.identity import Kind
from tidegate.plan.observed import Failure
from tidegate.plan.wanted import Plan

Place = tuple[Kind, str]  # kind and name of an object


@dataclass(frozen=True, slots=True)
class Unsure:
    """A plan whose status was sent, without an answer, and the status before it."""

    before: ModelDeploymentStatus
    plan: Plan


@dataclass(slots=True)
class Memory:
    """What is known of a deployment beyond the API server: the last status, and what it did not take."""

    raw: Mapping[str, Any] | None = None  # the status as it was last read or written
    written: ModelDeploymentStatus = field(default_factory=ModelDeploymentStatus)
    status: ModelDeploymentStatus = field(default_factory=ModelDeploymentStatus)
    written_at: datetime | None = None
    obstacles: dict[Place, Failure] = field(default_factory=dict)
    unsure: list[Unsure] = field(default_factory=list)


def read_status(raw: Mapping[str, Any]) -> ModelDeploymentStatus:
    """The status as its type; a lost one where it is not ours to read."""
    try:
        return ModelDeploymentStatus.model_validate(raw)
    except ValidationError:
        return ModelDeploymentStatus()
