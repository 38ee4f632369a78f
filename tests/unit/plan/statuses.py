"""Statuses in one line each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tidegate.api.status import ModelDeploymentStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def status_of(*true: str, **parts: Any) -> ModelDeploymentStatus:
    """A status of generation 1 with the conditions that are named as true, and further parts as written."""
    said = {"status": "True", "reason": "Because", "message": "it was so", "lastTransitionTime": NOW}
    conditions = [{"type": name, **said} for name in true]
    return ModelDeploymentStatus.model_validate({"observedGeneration": 1, "conditions": conditions} | parts)
