"""Trying again: a limited number of times, with growing and random pauses, never past the deadline."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tidegate.bundle.errors import StoreTimeout, Unreachable

T = TypeVar("T")
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 10.0


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment after which nothing is begun or waited for."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    at: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", self.clock() + self.seconds)

    def left(self) -> float:
        return self.at - self.clock()

    def check(self, where: str) -> None:
        """Raise StoreTimeout when it has passed."""
        if self.left() <= 0:
            raise StoreTimeout(
                f"not done within {self.seconds:g} s",
                where=where,
                do="the store or the network is slow: try again later",
            )


@dataclass(slots=True)
class Retries:
    """Counts failures in a row; progress starts the count again."""

    deadline: Deadline
    attempts: int = 5
    sleep: Callable[[float], None] = time.sleep
    failed: int = 0

    def progress(self) -> None:
        self.failed = 0

    def failure(self, error: Unreachable, *, after: float = 0.0) -> None:
        """Pause before the next attempt, or raise `error` when there is none left."""
        self.failed += 1
        if self.failed >= self.attempts:
            raise error
        self.deadline.check(error.where)
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self.failed)
        # Not for secrets: the pauses of many pods must not fall together.
        pause = max(after, random.uniform(FIRST_PAUSE / 2, longest))  # noqa: S311
        self.sleep(min(pause, LONGEST_PAUSE, max(0.0, self.deadline.left())))

    def call(self, act: Callable[[], T]) -> T:
        """Do `act` until it works, fails for good, or fails too often."""
        while True:
            try:
                return act()
            except Unreachable as error:
                self.failure(error)
