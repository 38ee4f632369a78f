"""Manifests, statuses and routes in one line each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.api.status import ModelDeploymentStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def spec() -> Callable[..., ModelDeploymentSpec]:
    def make(**parts: Any) -> ModelDeploymentSpec:
        return ModelDeploymentSpec.model_validate({"bundle": {"uri": "s3://models/fraud/1"}, **parts})

    return make


@pytest.fixture
def status() -> Callable[..., ModelDeploymentStatus]:
    """A status of generation 1 with the conditions that are named as true, and further parts as written."""

    def make(*true: str, **parts: Any) -> ModelDeploymentStatus:
        conditions = [{"type": name, "status": "True", "reason": "Because", "lastTransitionTime": NOW} for name in true]
        return ModelDeploymentStatus.model_validate({"observedGeneration": 1, "conditions": conditions} | parts)

    return make
