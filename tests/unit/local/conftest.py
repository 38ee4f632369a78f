"""Manifests, statuses and routes in one line each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.plan.statuses import status_of

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.api.status import ModelDeploymentStatus


@pytest.fixture
def spec() -> Callable[..., ModelDeploymentSpec]:
    def make(**parts: Any) -> ModelDeploymentSpec:
        return ModelDeploymentSpec.model_validate({"bundle": {"uri": "s3://models/fraud/1"}, **parts})

    return make


@pytest.fixture
def status() -> Callable[..., ModelDeploymentStatus]:
    return status_of


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own kubeconfig would be a second target of every command."""
    monkeypatch.setenv("KUBECONFIG", "/nonexistent/kubeconfig")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
