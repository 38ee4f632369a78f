"""When a server that has nothing to do looks for the next request instead of sleeping."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tidegate_runtime import busy_poll
from tidegate_runtime.busy_poll import CLOSE_SECONDS, IN_A_ROW, BusyPoll

CLOSE, FAR = CLOSE_SECONDS / 4, CLOSE_SECONDS * 1.1
A_LOOK = CLOSE_SECONDS / 10


class World:
    """A loop that sleeps when nothing is due, and its clock: every pass of it takes the time of a look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self._due: list[Callable[[], object]] = []
        monkeypatch.setattr(busy_poll, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.poll = BusyPoll(cast("Any", SimpleNamespace(call_soon=self._due.append)))

    def until_it_sleeps(self, most: float = 1.0) -> float:
        """Seconds in which the loop did not sleep, at most `most`."""
        began = self.now
        while self._due and self.now - began < most:
            due, self._due[:] = self._due[:], []
            for callback in due:
                callback()
            self.now += A_LOOK
        return self.now - began

    def requests(self, count: int, after: float) -> None:
        """Each so long after the answer before."""
        for _ in range(count):
            due = self.now + after
            self.until_it_sleeps(after)
            self.now = max(self.now, due)
            self.poll.asked()
            self.poll.answered()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(monkeypatch)
    made.requests(1, FAR)
    return made


def test_after_sixteen_requests_that_each_followed_an_answer_closely_the_next_is_looked_for(world: World) -> None:
    world.requests(IN_A_ROW, CLOSE)

    assert world.until_it_sleeps() == pytest.approx(CLOSE_SECONDS, abs=2 * A_LOOK)


@pytest.mark.parametrize("close", [0, 1, IN_A_ROW - 1])
def test_after_fewer_the_server_sleeps(world: World, close: int) -> None:
    world.requests(close, CLOSE)

    assert world.until_it_sleeps() == 0


def test_one_that_comes_late_has_sixteen_others_waited_for(world: World) -> None:
    world.requests(IN_A_ROW, CLOSE)
    world.requests(1, FAR)
    world.requests(IN_A_ROW - 1, CLOSE)

    assert world.until_it_sleeps() == 0


def test_it_ends_when_the_request_has_come(world: World) -> None:
    world.requests(IN_A_ROW, CLOSE)
    world.poll.asked()

    assert world.until_it_sleeps() <= A_LOOK


def test_a_request_that_comes_while_it_is_looked_for_keeps_one_look_going_and_not_two(world: World) -> None:
    world.requests(IN_A_ROW + 5, CLOSE)

    assert len(world._due) == 1
