"""Runs end at their deadline; the ones that do not are noticed, and no run is ended in place of another."""

from __future__ import annotations

import math
import os
import threading
import time

import pytest
from tests.waiting import wait_until

from tidegate_runtime import lifeline
from tidegate_runtime.watchdog import LONGEST_SLEEP, TICK, NextLook, RunLane, Watchdog, pause


def test_a_run_within_its_deadline_is_left_alone() -> None:
    lane = RunLane(NextLook())
    lane.begin(time.monotonic() + 60)

    assert not lane.watch(time.monotonic(), 10)
    assert not lane.options.terminate
    assert lane.end() is False


def test_a_late_run_is_terminated_and_the_next_one_is_not() -> None:
    lane = RunLane(NextLook())
    lane.begin(time.monotonic() - 0.01)
    ended = lane.options

    lane.watch(time.monotonic(), 10)

    assert ended.terminate
    assert lane.end() is True
    assert lane.options is not ended
    assert not lane.options.terminate
    assert lane.deadline == math.inf


def test_a_run_that_came_back_late_but_by_itself_was_not_terminated() -> None:
    lane = RunLane(NextLook())
    lane.begin(time.monotonic() - 0.01)

    assert lane.end() is False


def test_a_run_that_ignores_its_end_makes_the_server_stuck_until_it_returns() -> None:
    watchdog = Watchdog(patience=1.0)
    lane, other = watchdog.lane(), watchdog.lane()
    now = time.monotonic()
    lane.begin(now + 2)
    other.begin(now + 100)

    watchdog.look(now + 5.9)
    assert not watchdog.stuck
    watchdog.look(now + 6.1)
    assert watchdog.stuck
    lane.end()
    watchdog.look(now + 6.2)
    assert not watchdog.stuck


def test_a_run_with_hardly_any_time_left_is_not_stuck_at_once() -> None:
    watchdog = Watchdog(patience=10.0)
    lane = watchdog.lane()
    now = time.monotonic()
    lane.begin(now + 0.001)

    watchdog.look(now + 9)

    assert lane.options.terminate
    assert not watchdog.stuck


def test_the_thread_terminates_without_being_asked() -> None:
    watchdog = Watchdog()
    lane = watchdog.lane()
    watchdog.start()
    lane.begin(time.monotonic() + 0.01)

    give_up = time.monotonic() + 5
    while not lane.options.terminate and time.monotonic() < give_up:
        threading.Event().wait(0.01)
    watchdog.stop()

    assert lane.end() is True


@pytest.mark.parametrize(
    ("left", "seconds"),
    [
        ([], LONGEST_SLEEP),
        ([math.inf, 30.0], LONGEST_SLEEP),
        ([30.0, 0.1], 0.1 + TICK / 2),
        ([0.001], TICK),
        ([-20.0, 30.0], TICK),
    ],
)
def test_it_sleeps_until_the_first_run_may_be_late(left: list[float], seconds: float) -> None:
    assert pause(left) == seconds


def test_a_run_that_begins_while_it_sleeps_and_must_end_sooner_wakes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate_runtime.watchdog.LONGEST_SLEEP", 1000.0)
    watchdog = Watchdog()
    lane = watchdog.lane()
    watchdog.start()
    wait_until(lambda: watchdog.next_look.at > time.monotonic() + 900, "it sleeps")

    lane.begin(time.monotonic() + 0.01)

    wait_until(lambda: bool(lane.options.terminate), "the run is ended")
    watchdog.stop()


def test_runs_that_have_time_or_hardly_any_do_not_keep_it_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    monkeypatch.setattr(Watchdog, "look", lambda _, now: looks.append(now))
    watchdog = Watchdog()
    lane = watchdog.lane()
    watchdog.start()
    began = time.monotonic()

    while time.monotonic() < began + 0.3:
        for seconds in (30.0, 0.001):
            lane.begin(time.monotonic() + seconds)
            lane.end()

    took = time.monotonic() - began
    watchdog.stop()
    assert len(looks) <= took / TICK + 3


@pytest.mark.parametrize("words", [b"", b"some words first"])
def test_the_end_of_the_pipe_is_told_once(monkeypatch: pytest.MonkeyPatch, words: bytes) -> None:
    monkeypatch.setattr(lifeline, "_ask_kernel_for_sigterm", lambda: None)  # it would outlive this test
    reading, writing = os.pipe()
    told: list[int] = []
    thread = lifeline.watch(reading, lambda: told.append(1))
    os.write(writing, words)
    assert not told

    os.close(writing)
    thread.join(timeout=5)

    assert told == [1]
    os.close(reading)
