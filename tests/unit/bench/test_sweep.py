"""The order of a measurement, and its time, with a server that is a formula."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.bench.levels import level

from tidegate.bench.connection import Endpoint
from tidegate.bench.record import Verdict
from tidegate.bench.run import Enough, Step, Window, Work
from tidegate.bench.sweep import Aim, Findings, at_once, at_rate, sweep
from tidegate.errors import Failed

WORK = Work(Endpoint("nowhere", 1), [b"r"], 64)


class Played:
    """Instead of a run: what the formula says, and time that passes at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.said: list[str] = []
        self.looks: list[tuple[float, int]] = []
        self.capacity, self.service = 100.0, 0.01
        self.answers = True
        self.failures: dict[int, int] = {}
        monkeypatch.setattr("tidegate.bench.sweep.closed_loop", self.closed)
        monkeypatch.setattr("tidegate.bench.sweep.open_loop", self.opened)
        monkeypatch.setattr("tidegate.bench.sweep.time.monotonic", lambda: self.now)

    async def closed(self, work: Work, connections: int, seconds: float, *, limit: float = math.inf) -> Step:
        self.now += seconds
        step = level(0.0, self.service * connections, Verdict.UNDECIDED)
        rate = self.capacity if self.answers else 0.0
        p50 = self.service * connections
        return replace(step, connections=connections, p50=p50, answered=rate, failures=self.failures, seconds=seconds)

    async def opened(
        self, work: Work, rate: float, window: Window, limit: float, enough: Enough, *, looks: int = 0
    ) -> Step:
        self.looks.append((rate, looks))
        self.now += window.warm + window.longest
        p99 = self.service / (1 - rate / self.capacity) if rate < self.capacity else math.inf
        return level(rate, p99, Verdict.HOLDS if p99 <= limit else Verdict.EXCEEDS)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    return Played(monkeypatch)


def test_a_sweep_goes_from_one_request_to_the_knee_and_back_to_the_target(played: Played) -> None:
    found = Findings()

    asyncio.run(sweep(WORK, Aim(0.05, 300.0), found, played.said.append))

    assert found.finished
    assert found.knee is not None
    assert 75 < found.knee.rate <= 80  # 10 ms / (1 - 0.8) = 50 ms
    assert found.target is not None
    assert found.target.rate == pytest.approx(0.7 * found.knee.rate)
    assert played.said[:3] == ["one request at a time", "64 requests at a time", "10.0 requests a second"]
    assert played.said[-1] == "70% of the knee"


def test_a_target_that_a_neighbour_spoiled_is_looked_at_again(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    found, spoils = Findings(), iter([True, False])

    async def disturbed(*given: Any, looks: int = 0) -> Step:
        step = await played.opened(*given, looks=looks)
        return replace(step, verdict=Verdict.EXCEEDS) if played.said[-1].endswith("knee") and next(spoils) else step

    monkeypatch.setattr("tidegate.bench.sweep.open_loop", disturbed)

    asyncio.run(sweep(WORK, Aim(0.05, 300.0), found, played.said.append))

    assert found.target is not None
    assert found.target.holds(0.05)


def test_without_a_limit_it_is_ten_times_what_a_request_takes_alone(played: Played) -> None:
    found = Findings()

    asyncio.run(sweep(WORK, Aim(None, 300.0), found, played.said.append))

    assert found.limit == pytest.approx(0.1)


@pytest.mark.parametrize("duration", [10.0, 30.0, 60.0])
def test_a_sweep_takes_about_its_time_and_leaves_some_for_the_target(played: Played, duration: float) -> None:
    found = Findings()

    asyncio.run(sweep(WORK, Aim(0.05, duration), found, played.said.append))

    assert found.target is not None
    assert played.now <= 1.2 * duration


def test_each_look_at_a_rate_has_arrivals_of_its_own(played: Played) -> None:
    asyncio.run(sweep(WORK, Aim(0.05, 300.0), Findings(), played.said.append))

    assert len(set(played.looks)) == len(played.looks)
    assert (80.0, 1) in played.looks


@pytest.mark.parametrize(("rate", "duration", "needed"), [(10.0, 6.0, 50.0), (3.3, 2.0, 150.0), (1.0, 60.0, 480.0)])
def test_a_model_that_is_too_slow_for_the_time_is_told_how_much_it_needs(
    played: Played, rate: float, duration: float, needed: float
) -> None:
    played.capacity, played.service, found = rate, 1 / rate, Findings()

    asyncio.run(sweep(WORK, Aim(None, duration), found, played.said.append))

    assert found.too_short == needed
    assert (found.knee, found.target, found.holds) == (None, None, False)
    assert played.now <= 1.2 * duration


@pytest.mark.parametrize("needed", [50.0, 480.0])
def test_the_time_that_was_told_is_enough(played: Played, needed: float) -> None:
    played.capacity, played.service, found = 480 / needed, needed / 480, Findings()

    asyncio.run(sweep(WORK, Aim(None, needed), found, played.said.append))

    assert found.target is not None
    assert found.beyond is not None


def test_a_limit_below_what_a_request_takes_alone_is_no_lack_of_time(played: Played) -> None:
    found = Findings()

    asyncio.run(sweep(WORK, Aim(0.001, 2.0), found, played.said.append))

    assert not found.too_short
    assert not found.holds


def test_a_model_that_ends_no_request_in_its_time_is_told_as_such(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object, **__: object) -> Step:
        return replace(level(0.0, 0.0, Verdict.UNDECIDED), requests=0, answered=0.0, seconds=0.2)

    monkeypatch.setattr("tidegate.bench.sweep.closed_loop", nothing)
    monkeypatch.setattr("tidegate.bench.sweep.open_loop", nothing)

    for program in (sweep(WORK, Aim(None, 2.0), Findings(), played.said.append),
                    at_rate(WORK, 1.0, Aim(None, 2.0), Findings(), played.said.append)):  # fmt: skip
        with pytest.raises(Failed, match="too short for this model") as told:
            asyncio.run(program)
        assert "--duration" in told.value.do


def test_a_model_that_mostly_fails_when_asked_alone_has_no_limit_to_be_held_against(played: Played) -> None:
    played.service, played.failures = math.inf, {429: 600}

    with pytest.raises(Failed, match="600 of 1000 requests, one at a time, failed: 429"):
        asyncio.run(sweep(WORK, Aim(None, 60.0), Findings(), played.said.append))


def test_a_rate_at_which_everything_is_refused_does_not_hold_without_a_limit_either(played: Played) -> None:
    found = Findings()

    asyncio.run(at_rate(WORK, 200.0, Aim(None, 10.0), found, played.said.append))

    assert replace(found.steps[0], verdict=Verdict.UNDECIDED).holds(math.inf) is False


def test_what_is_never_answered_well_ends_it(played: Played) -> None:
    played.answers, played.failures = False, {500: 3}

    with pytest.raises(Failed, match="was answered well: 500"):
        asyncio.run(sweep(WORK, Aim(0.05, 60.0), Findings(), played.said.append))


@pytest.mark.parametrize(("rate", "holds"), [(50.0, True), (95.0, False)])
def test_one_rate_holds_or_not(played: Played, rate: float, holds: bool) -> None:
    found = Findings()

    asyncio.run(at_rate(WORK, rate, Aim(0.05, 10.0), found, played.said.append))

    assert found.holds is holds
    assert found.target is None


@pytest.mark.parametrize(("limit", "holds"), [(1.0, True), (0.5, False), (None, True)])
def test_a_closed_loop_alone_is_held_against_the_limit_too(played: Played, limit: float | None, holds: bool) -> None:
    found = Findings()

    asyncio.run(at_once(WORK, Aim(limit, 10.0), found, played.said.append))

    assert found.holds is holds
    assert found.steps == []


def test_what_was_found_before_an_error_stays(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Findings()
    monkeypatch.setattr("tidegate.bench.sweep.open_loop", fails(RuntimeError("gone")))

    with pytest.raises(RuntimeError, match="gone"):
        asyncio.run(sweep(WORK, Aim(0.05, 60.0), found, played.said.append))

    assert found.peak is not None
    assert not found.finished


def fails(error: Exception) -> Callable[..., None]:
    def raising(*_: object, **__: object) -> None:
        raise error

    return raising
