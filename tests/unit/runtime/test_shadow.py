"""Shadowing takes a share, holds little, ends by itself, and never makes anybody wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tidegate_runtime import low_priority
from tidegate_runtime.low_priority import LowPriority
from tidegate_runtime.shadow import ShadowSender, Target

ANSWER: dict[str, Any] = {"scores": np.zeros((1, 3), np.float32)}


@pytest.fixture
def sender(monkeypatch: pytest.MonkeyPatch) -> Iterator[ShadowSender]:
    """A sender whose thread does not send: what is queued stays."""
    monkeypatch.setattr(ShadowSender, "_send_all", lambda self: None)
    yield ShadowSender()


def target(share: float = 1.0, seconds: float = 60.0) -> Target:
    return Target("127.0.0.1", 9, share, time.monotonic() + seconds, "token")


def waiting(sender: ShadowSender) -> int:
    return sender._queue.qsize()


def test_nothing_is_wanted_until_somebody_aims(sender: ShadowSender) -> None:
    assert not sender.wants
    sender.offer(b"body", None, ANSWER)
    assert waiting(sender) == 0

    sender.aim(target())
    assert sender.wants
    sender.aim(None)
    assert not sender.wants


def test_a_share_of_the_requests_is_taken(sender: ShadowSender, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter([0.05, 0.15, 0.09, 0.95])
    monkeypatch.setattr("random.random", lambda: next(numbers))
    sender.aim(target(share=0.1))

    for _ in range(4):
        sender.offer(b"body", None, ANSWER)

    assert waiting(sender) == 2
    assert sender.dropped == 0


def test_it_ends_by_itself_when_nobody_renews_it(sender: ShadowSender) -> None:
    sender.aim(target(seconds=-1))

    sender.offer(b"body", None, ANSWER)

    assert not sender.wants
    assert waiting(sender) == 0


def test_what_does_not_fit_is_dropped_and_counted(sender: ShadowSender) -> None:
    sender.aim(target())
    for _ in range(70):
        sender.offer(b"body", None, ANSWER)

    assert (waiting(sender), sender.dropped) == (64, 6)


@pytest.mark.parametrize(
    ("body", "answer"),
    [(b"x" * (2**20 + 1), ANSWER), (b"x", {"scores": np.zeros(2**18 + 1, np.float32)})],
)
def test_what_is_larger_than_one_mib_is_not_shadowed(sender: ShadowSender, body: bytes, answer: dict[str, Any]) -> None:
    sender.aim(target())

    sender.offer(body, None, answer)

    assert (waiting(sender), sender.dropped) == (0, 1)


def test_all_that_waits_together_stays_small(sender: ShadowSender) -> None:
    sender.aim(target())
    for _ in range(30):
        sender.offer(b"x" * 2**20, None, {})

    assert (waiting(sender), sender.dropped) == (16, 14)


def test_low_priority_work_is_done_in_order_and_a_failure_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    thread = LowPriority("test")
    done: list[int] = []
    finished = threading.Event()

    def fail() -> None:
        raise ValueError("one piece of work")

    for work in (lambda: done.append(1), fail, lambda: done.append(2), finished.set):
        assert thread.offer(work, 10)
    thread.start()

    assert finished.wait(5)
    assert done == [1, 2]
    assert "test failed" in caplog.text
    thread.stop()


def test_low_priority_work_has_64_places_and_16_mib() -> None:
    thread = LowPriority("never started")

    assert [thread.offer(lambda: None, 1) for _ in range(65)] == [True] * 64 + [False]
    assert not LowPriority("other").offer(lambda: None, low_priority.MOST_HELD + 1)
