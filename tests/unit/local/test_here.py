from __future__ import annotations

from collections.abc import Callable

import pytest

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.local.here import WITHOUT_EFFECT, fitted, without_effect

Make = Callable[..., ModelDeploymentSpec]


def test_only_fields_that_were_written_are_listed(spec: Make) -> None:
    found = without_effect(spec(runtime={"resources": {"limits": {"memory": "1Gi"}}}, scaling={"maxReplicas": 4}))

    assert [line.split(" ")[0] for line in found] == ["spec.runtime.resources", "spec.scaling.maxReplicas"]


def test_a_manifest_that_says_nothing_special_is_met_with_silence(spec: Make) -> None:
    assert without_effect(spec()) == []


@pytest.mark.parametrize("path", WITHOUT_EFFECT)
def test_every_listed_field_exists(path: str) -> None:
    kind: type = ModelDeploymentSpec
    for name in path.split("."):
        field = kind.model_fields[name]  # type: ignore[attr-defined]
        kind = next(one for one in (*getattr(field.annotation, "__args__", ()), field.annotation) if one)


def test_servers_are_as_many_as_min_replicas_within_the_cap(spec: Make) -> None:
    wanted = spec(scaling={"minReplicas": 6, "maxReplicas": 20})

    assert fitted(wanted, 4).scaling.min_replicas == 4
    assert fitted(wanted, 8).scaling.max_replicas == 6


def test_scale_to_zero_means_one_server_here(spec: Make) -> None:
    assert fitted(spec(scaling={"minReplicas": 0, "maxReplicas": 2, "provider": "KEDA"}), 4).scaling.min_replicas == 1


def test_queries_that_nobody_answers_here_are_listed_and_hold_up_no_rollout(spec: Make) -> None:
    queries = [{"name": "memory", "query": "up", "max": 1}]
    wanted = spec(rollout={"analysis": {"source": "Prometheus", "prometheus": {"queries": queries}}})

    assert any(line.startswith("spec.rollout.analysis.prometheus has no effect") for line in without_effect(wanted))
    assert fitted(wanted, 4).rollout.analysis.prometheus is None
    assert fitted(wanted, 4).rollout.analysis.source == "Direct"
