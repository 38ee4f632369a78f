"""Which waiting requests share a run, how their tensors are joined, and how the answer is cut up again.

Work-conserving: what waits is taken when a worker gets free, nothing is held back unless `maxDelay` says so.  Only
requests of the same shape beyond the first dimension are joined; nothing is ever padded.  A request's parameters are
read by its protocol and stay with its answer: a run sees tensors, and of several requests only their rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tidegate_runtime.interfaces import Array


@dataclass(slots=True, eq=False)
class Call:
    """One request on its way through the engine. `done(call)` is called on the loop, once, unless it was cancelled."""

    feeds: dict[str, Array]
    rows: int
    key: object
    done: Callable[[Call], None]
    arrived: float  # time.monotonic, like all times here
    deadline: float
    started: float = 0.0
    ended: float = 0.0
    outputs: Sequence[Array] = ()
    error: Exception | None = None
    taken: bool = False  # out of the queue, to be run
    answered: bool = False
    cancelled: bool = False
    rows_together: int = 0  # of the run that it shared
    requests_together: int = 0
    apart: bool = False  # shares no run, and what runs of its shape took says nothing: long texts, optional inputs

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for its answer."""
        return not (self.cancelled or self.answered)

    def is_overdue(self, now: float, longest: float) -> bool:
        """Whether it has waited longer than `longest` seconds, or its time is up."""
        return now - self.arrived > longest or now > self.deadline


@dataclass(slots=True, eq=False)
class Batch:
    """Calls that share one run."""

    calls: list[Call]
    rows: int
    key: object
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.deadline = self.calls[0].deadline
        for call in self.calls[1:]:
            self.deadline = max(self.deadline, call.deadline)

    def feeds(self) -> dict[str, Array]:
        if len(self.calls) == 1:
            return self.calls[0].feeds
        first = self.calls[0].feeds
        return {name: np.concatenate([call.feeds[name] for call in self.calls]) for name in first}

    def split(self, outputs: Sequence[Array]) -> None:
        """Give each call its own rows of the outputs, as views; raises ValueError when there are more rows or fewer."""
        if len(self.calls) == 1:
            self.calls[0].outputs = outputs
            return
        for array in outputs:
            if len(array) != self.rows:
                raise ValueError(f"{len(array)} rows came out of a run of {self.rows}")
        start = 0
        for call in self.calls:
            end = start + call.rows
            call.outputs = [array[start:end] for array in outputs]
            start = end


class Waiting:
    """The calls that wait for their run, oldest first."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: deque[Call] = deque()

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Call) -> None:
        self._calls.append(call)

    def remove(self, call: Call) -> None:
        self._calls.remove(call)

    def oldest(self) -> Call:
        return self._calls[0]

    def rows(self) -> int:
        """Rows that wait, of all shapes."""
        return sum(call.rows for call in self._calls)

    def take(self, limit: int) -> Batch:
        """The oldest call and those of the same shape that fit beside it in `limit` rows."""
        first = self._calls.popleft()
        calls, rows, key, passed = [first], first.rows, first.key, []
        while self._calls and rows < limit > 1 and not first.apart:
            call = self._calls.popleft()
            if call.key == key and rows + call.rows <= limit and not call.apart:
                calls.append(call)
                rows += call.rows
            else:
                passed.append(call)
        self._calls.extendleft(reversed(passed))
        return Batch(calls, rows, key)

    def put_back(self, batch: Batch) -> None:
        """Calls that were taken and not run are the oldest again."""
        self._calls.extendleft(reversed(batch.calls))

    def expired(self, now: float, longest: float) -> list[Call]:
        """Calls that waited too long or whose time is up, taken out."""
        late = [call for call in self._calls if call.is_overdue(now, longest)]
        if late:
            self._calls = deque(call for call in self._calls if call not in late)
        return late
