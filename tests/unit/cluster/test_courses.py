"""What is kept of rollouts: written seldom, bounded, and never in anybody's way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from tests.fakes.apiserver import FakeApi
from tests.fakes.faults import calls_of
from tests.unit.plan.conftest import Story

from tidegate.cluster.courses import LIMIT, Courses, append
from tidegate.cluster.errors import Conflict
from tidegate.plan.course import Row
from tidegate.plan.manifests.identity import CONFIG_MAP, Owner
from tidegate.plan.told import decisions_in, lines_in
from tidegate.plan.wanted import Plan

OWNER = Owner("default", "fraud", "00000000-0000-4000-8000-000000000001")


class Kept:
    """Courses over a fake API server, with a clock of their own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.api = FakeApi()
        self.now = 1000.0
        monkeypatch.setattr("tidegate.cluster.courses.time.monotonic", lambda: self.now)
        self.there = True
        self.courses = Courses(self.api, partial(datetime.now, UTC), lambda _: self.there)

    def told(self, *plans: Plan) -> Kept:
        for plan in plans:
            self.courses.chronicle(OWNER, plan)
        return self

    def write(self, after: float = 0.0) -> Kept:
        self.now += after
        asyncio.run(self.courses.write())
        return self

    @property
    def object(self) -> dict[str, Any]:
        found = asyncio.run(self.api.get(CONFIG_MAP, "default", "fraud-course"))
        return found or {}

    @property
    def numbers(self) -> list[int]:
        return [one["number"] for one in decisions_in(lines_in(self.object))]

    @property
    def calls(self) -> list[str]:
        return [call.verb for call in self.api.faults.log if call.kind == CONFIG_MAP]


@pytest.fixture
def keeps(monkeypatch: pytest.MonkeyPatch) -> Kept:
    return Kept(monkeypatch)


@pytest.fixture
def scenario() -> Callable[..., Story]:
    return Story


def rows(*numbers: int, size: int = 0) -> list[Row]:
    standing = {"stable": "a"}
    return [
        {
            "at": f"2026-11-26T09:00:{number:02}Z",
            "events": [{"number": number, "before": standing, "message": "x" * size}],
        }
        for number in numbers
    ]


def decided(story: Story) -> list[Plan]:
    return [plan for plan in story.world.plans if plan.decisions]


def test_a_first_version_is_one_write_within_a_minute(keeps: Kept, scenario: Callable[..., Story]) -> None:
    story = scenario().serving("v1")

    keeps.told(*decided(story)).write()
    assert keeps.calls == []
    keeps.write(after=60)

    assert keeps.calls == ["create"]
    assert keeps.numbers == [1, 2]


def test_the_decisions_of_a_minute_are_one_write(keeps: Kept, scenario: Callable[..., Story]) -> None:
    story = scenario(steps=[(10, "1s"), (50, "1s")]).serving("v1").apply("v2").until_weight(10)
    keeps.told(*decided(story)).write()
    told = len(decided(story))

    keeps.told(*decided(story.until_weight(50))[told:]).write(after=50)
    assert keeps.calls == []
    keeps.write(after=10)

    assert keeps.calls == ["create"]
    assert keeps.numbers == [*range(1, story.status.decisions + 1)]


def test_how_a_rollout_ended_is_written_at_once(keeps: Kept, scenario: Callable[..., Story]) -> None:
    story = scenario(steps=[], rollout={"scaleDownDelay": "0s"}).serving("v1")
    keeps.told(*decided(story)).write(after=60)
    told, calls = len(decided(story)), len(keeps.calls)

    keeps.told(*decided(story.apply("v2").until(lambda one: one.stable == "v2"))[told:]).write(after=1).write(after=14)

    assert keeps.calls[calls:] == ["get", "apply"]
    assert decisions_in(lines_in(keeps.object))[-1]["reason"] == "Promoted"


def test_figures_are_a_row_a_minute_and_a_write_every_five(keeps: Kept, scenario: Callable[..., Story]) -> None:
    story = scenario(steps=[(50, "manual")]).serving("v1").apply("v2").until_weight(50)
    keeps.told(*decided(story)).write(after=60)
    before = len(lines_in(keeps.object))
    calls = len(keeps.calls)

    for _ in range(45):  # turns of ten seconds
        keeps.now += 10
        keeps.told(story.turn()).write()

    assert keeps.calls[calls:] == ["get", "apply"]
    assert len(lines_in(keeps.object)) - before == 6


def test_at_rest_nothing_is_asked_and_nothing_is_held(keeps: Kept, scenario: Callable[..., Story]) -> None:
    story = scenario().serving("v1")
    keeps.told(*decided(story)).write(after=60)
    asked = len(keeps.calls)

    keeps.told(*[story.turn() for _ in range(10)]).write(after=600)

    assert len(keeps.calls) == asked
    assert keeps.courses._known == {}


@pytest.mark.parametrize("error", ["403", "403 quota", "409", "timeout", "429"])
def test_what_cannot_be_written_waits_and_is_complained_of_once(
    keeps: Kept, scenario: Callable[..., Story], error: str, caplog: pytest.LogCaptureFixture
) -> None:
    story = scenario(steps=[50]).serving("v1").apply("v2").until_weight(50)
    keeps.api.faults.fail(calls_of("create", kind=CONFIG_MAP), error, times=3)

    keeps.told(*decided(story)).write(after=60).write(after=1).write(after=30).write(after=30)
    assert keeps.numbers == []
    keeps.write(after=30)

    assert keeps.numbers == [*range(1, story.status.decisions + 1)]
    assert len([line for line in caplog.messages if "is not written" in line]) == 1


def test_a_write_whose_answer_was_lost_adds_nothing_twice(keeps: Kept, scenario: Callable[..., Story]) -> None:
    story = scenario(steps=[50]).serving("v1").apply("v2").until_weight(50)
    keeps.api.faults.fail_write(1, "timeout", after=True)

    keeps.told(*decided(story)).write(after=60).write(after=30)

    assert keeps.numbers == [*range(1, story.status.decisions + 1)]


def test_an_object_of_somebody_else_is_left_alone() -> None:
    api = FakeApi()
    meta = {"name": "fraud-course", "namespace": "default"}
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "b"}}
    asyncio.run(api.create(theirs))

    with pytest.raises(Conflict, match="it exists and is not ours"):
        asyncio.run(append(api, OWNER, rows(2)))

    found = asyncio.run(api.get(CONFIG_MAP, "default", "fraud-course"))
    assert found and found["data"] == {"a": "b"}


def test_it_is_bounded_and_keeps_the_newest() -> None:
    api = FakeApi()

    for number in range(1, 40):
        asyncio.run(append(api, OWNER, rows(number, size=4000)))

    found = asyncio.run(api.get(CONFIG_MAP, "default", "fraud-course")) or {}
    assert len(found["data"]["course.jsonl"]) <= LIMIT
    assert [one["number"] for one in decisions_in(lines_in(found))][-1] == 39
    assert found["metadata"]["ownerReferences"] == [OWNER.reference]


def test_a_secret_in_a_message_is_blotted_out() -> None:
    api = FakeApi()
    (row,) = rows(2)
    row["events"][0]["message"] = "https://user:hunter22@store/x?X-Amz-Signature=abcdef failed"

    asyncio.run(append(api, OWNER, [row]))

    found = asyncio.run(api.get(CONFIG_MAP, "default", "fraud-course")) or {}
    assert "hunter22" not in json.dumps(found) and "abcdef" not in json.dumps(found)
    assert decisions_in(lines_in(found))[0]["message"] == "https://***@store/x?X-Amz-Signature=*** failed"


def test_of_a_deployment_that_is_gone_nothing_is_written(keeps: Kept, scenario: Callable[..., Story]) -> None:
    keeps.told(*decided(scenario(steps=[50]).serving("v1").apply("v2").until_weight(50)))
    keeps.there = False

    keeps.write(after=60)

    assert keeps.calls == []
    assert keeps.courses._known == {}


def test_what_waits_is_written_at_the_end(keeps: Kept, scenario: Callable[..., Story]) -> None:
    keeps.told(*decided(scenario().serving("v1")))

    asyncio.run(keeps.courses.finish(5))

    assert keeps.numbers == [1, 2]
