"""What is asked of Prometheus before a plan is made, and what the plan gets where there is no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.cluster.fake_prometheus import FakePrometheus, Reply, refusal, scalar, serving, vector

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.api.status import ModelDeploymentStatus
from tidegate.cluster.asking import Heard, compared_revisions, hear
from tidegate.cluster.prometheus import Prometheus

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ("shop", "fraud")
QUERIES = [{"name": "a", "query": "a{x={{revision}}}", "max": 1}, {"name": "b", "query": "b", "max": 1}]


def spec_of(**prometheus: Any) -> ModelDeploymentSpec:
    source = prometheus.pop("source", "Direct")
    analysis = {"source": source, "prometheus": prometheus} if prometheus else {}
    return ModelDeploymentSpec.model_validate({"bundle": {"uri": "s3://m/1"}, "rollout": {"analysis": analysis}})


def status_of(phase: str = "Holding", **rollout: Any) -> ModelDeploymentStatus:
    """A rollout whose queries are to be asked."""
    running = {"phase": phase, "queriedAt": "2025-12-31T00:00:00Z", **rollout}
    versions = {"stable": {"revision": "r1"}, "candidate": {"revision": "r2"}}
    return ModelDeploymentStatus.model_validate({**versions, "rollout": running})


def heard(
    spec: ModelDeploymentSpec, status: ModelDeploymentStatus, replies: Mapping[str, Reply], ref: str = "main"
) -> tuple[Heard, FakePrometheus]:
    """What a plan gets when queries that begin so are answered so."""

    def answer(form: Mapping[str, str]) -> Reply:
        return next(reply for start, reply in replies.items() if form["query"].startswith(start))

    async def main() -> tuple[Heard, FakePrometheus]:
        async with serving(answer) as fake:
            prometheus = Prometheus({ref: f"http://127.0.0.1:{fake.port}"})
            try:
                return await hear(prometheus, KEY, spec, status, NOW), fake
            finally:
                await prometheus.close()

    return asyncio.run(main())


def test_where_the_spec_asks_nothing_nothing_is_asked() -> None:
    found, fake = heard(spec_of(), status_of(), {})

    assert (found, fake.asked) == (Heard(), [])


def test_queries_are_answered_each_for_itself() -> None:
    replies = {"a": scalar("0.5"), "b": refusal(422, "execution", "many-to-many matching not allowed")}

    found, fake = heard(spec_of(queries=QUERIES), status_of(), replies)

    assert found.queries == {"a": 0.5, "b": None}
    assert found.unanswered == {"b": "many-to-many matching not allowed"}
    assert {form["query"] for form in fake.asked} == {'a{x="r2"}', "b"}
    assert (found.samples, found.unread) == ((), "")


def test_an_empty_answer_has_no_reason_of_its_own() -> None:
    found, _ = heard(spec_of(queries=QUERIES), status_of(), {"": vector()})

    assert (found.queries, found.unanswered) == ({"a": None, "b": None}, {})


def test_before_the_interval_is_over_no_query_is_asked() -> None:
    found, fake = heard(spec_of(queries=QUERIES), status_of(queriedAt="2025-12-31T23:59:55Z"), {})

    assert (found, fake.asked) == (Heard(), [])


def test_a_server_that_nobody_knows_is_said_for_counters_and_queries() -> None:
    found, _ = heard(spec_of(source="Prometheus", queries=QUERIES), status_of(), {}, ref="other")

    assert found.unread == "no Prometheus is called main: the operator's --prometheus names other"
    assert found.unanswered == {"a": "no Prometheus is called main", "b": "no Prometheus is called main"}
    assert found.queries == {"a": None, "b": None}


def test_counters_are_read_of_both_versions_if_so_asked() -> None:
    found, fake = heard(spec_of(source="Prometheus", ref="main"), status_of(), {"label_replace": vector()})

    assert [form["query"].count('revision=~"r1|r2"') for form in fake.asked] == [2]
    assert found.unread.startswith("Prometheus main has no fresh counters of revision r1: are its pods scraped")


def test_a_server_that_is_down_is_said() -> None:
    found, _ = heard(spec_of(source="Prometheus", ref="main"), status_of(), {"": (503, "")})

    assert found.unread == "Prometheus main: it answers 503"


@pytest.mark.parametrize("phase", ["Returning", "Failed"])
def test_without_a_comparison_nothing_is_read(phase: str) -> None:
    found, fake = heard(spec_of(source="Prometheus", queries=QUERIES), status_of(phase), {})

    assert (found, fake.asked) == (Heard(), [])


def test_the_stable_version_is_the_one_that_was_before_the_promotion() -> None:
    watching = status_of("Watching", previous={"revision": "r0"}).model_copy(update={"candidate": None})

    assert compared_revisions(watching) == ["r0", "r1"]
    assert compared_revisions(status_of()) == ["r1", "r2"]
    assert compared_revisions(status_of().model_copy(update={"stable": None})) == []
    assert compared_revisions(ModelDeploymentStatus()) == []
