"""Counts of several processes add up to what one process would have counted, and never go back."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_runtime.counters import Counters
from tidegate_runtime.divergence import Clock
from tidegate_runtime.siblings.counts import KINDS, Plain, Seconds
from tidegate_runtime.siblings.together import Together
from tidegate_runtime.statistics import Runs, Sums

NOON = 1_763_777_700  # a whole ten seconds
PROCESSES = 3
Traffic = Literal["requests", "pinned"]


class Process:
    """One of them, with a clock that the test moves."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.counters = Counters(clock=Clock(0.0, NOON))
        self._seconds = Seconds(self.counters)

    def add(self, now: float, kind: Traffic, seconds: float, failed: bool) -> None:
        self.counters.lanes[kind].add(now, seconds, failed)

    def tell(self, now: float, to: Together) -> int:
        """Report through a pickle, as a sibling does; the seconds before what it gives are told."""
        until = self.counters.until(now)
        plain, seconds = pickle.loads(
            pickle.dumps((Plain.of(self.counters, self.number, {"401": 1}), self._seconds.before(until)))
        )
        to.absorb(self.number, plain, seconds)
        return until


def require_same(together: Together, alone: Counters, now: float) -> None:
    """What both tell of the seconds that are over; the order of additions may move the last bit of a sum."""
    until = together.until()
    for kind in KINDS:
        one, other = together.lanes[kind].read(until), alone.lanes[kind].read(until)
        assert (one.n, one.errors, one.ones.bins, one.tens.bins) == (
            other.n, other.errors, other.ones.bins, other.tens.bins,
        ), now  # fmt: skip
        assert one.counts.tolist() == other.counts.tolist()
        for mine, theirs in ((one.ones, other.ones), (one.tens, other.tens)):
            assert np.allclose(mine.squares, theirs.squares, rtol=1e-12)
            assert mine.error_squares == pytest.approx(theirs.error_squares)


EVENTS = st.lists(
    st.tuples(
        st.floats(0, 30),
        st.integers(0, PROCESSES - 1),
        st.sampled_from(["requests", "pinned"]),
        st.floats(1e-5, 100),
        st.booleans(),
    ),
    max_size=80,
)


@settings(max_examples=200, deadline=None)
@given(EVENTS, st.lists(st.tuples(st.floats(0, 30), st.integers(0, PROCESSES - 1)), max_size=40))
def test_the_evidence_is_that_of_one_process_whenever_each_of_them_tells(
    events: list[tuple[float, int, Traffic, float, bool]], reports: list[tuple[float, int]]
) -> None:
    processes = [Process(number) for number in range(PROCESSES)]
    together = Together(Counters(clock=Clock(0.0, NOON)), {})
    told = [NOON] * PROCESSES
    happenings = sorted([(event[0], 1, event[1:]) for event in events] + [(now, 0, (which,)) for now, which in reports])
    for now, is_event, what in happenings:
        if is_event:
            processes[what[0]].add(now, *what[1:])
            continue
        told[what[0]] = processes[what[0]].tell(now, together)
        together.close(min(told))
        require_same(together, replayed(events, together.until()), now)

    for process in processes:
        told[process.number] = process.tell(41.0, together)
    together.close(min(told))
    assert together.until() == NOON + 41
    require_same(together, replayed(events, NOON + 41), 41.0)


def replayed(events: list[tuple[float, int, Traffic, float, bool]], until: int) -> Counters:
    """One process that counted all of it before `until`."""
    alone = Counters(clock=Clock(0.0, NOON))
    for now, _, kind, seconds, failed in sorted(events):
        if now + NOON < until:
            alone.lanes[kind].add(now, seconds, failed)
    return alone


@pytest.fixture
def pair() -> tuple[Process, Process, Together]:
    return Process(0), Process(1), Together(Counters(clock=Clock(0.0, NOON)), {})


def test_a_second_that_one_process_has_not_told_is_not_over(pair: tuple[Process, Process, Together]) -> None:
    first, second, together = pair
    first.add(3.5, "requests", 0.01, False)
    second.add(3.6, "requests", 0.01, True)

    together.close(min(first.tell(4.1, together), second.tell(3.9, together)))
    assert together.evidence()["until"] == NOON + 3
    assert together.evidence()["requests"]["n"] == 0

    together.close(min(first.tell(4.2, together), second.tell(4.2, together)))
    assert (together.evidence()["requests"]["n"], together.evidence()["requests"]["bins"]) == (2, 1)


def test_what_a_dead_process_told_stays_and_its_successor_begins_anew(pair: tuple[Process, Process, Together]) -> None:
    first, second, together = pair
    second.add(1.5, "requests", 0.01, False)
    second.counters.codes[200] += 1
    together.close(min(first.tell(2.5, together), second.tell(2.5, together)))

    together.depart(second.number)
    together.close(first.tell(5.5, together))
    assert (together.evidence()["requests"]["n"], dict(together.codes)) == (1, {200: 1})

    heir = Process(7)
    heir.counters.codes[200] += 2
    together.close(min(first.tell(6.5, together), heir.tell(6.5, together)))
    assert dict(together.codes) == {200: 3}


def test_time_does_not_go_back_for_a_process_that_has_just_begun(pair: tuple[Process, Process, Together]) -> None:
    first, second, together = pair
    together.close(first.tell(9.5, together))

    together.close(min(first.tell(9.6, together), second.tell(8.9, together)))

    assert together.until() == NOON + 9


@pytest.mark.parametrize(
    "count",
    [
        lambda c: c.answered("requests", 200, 0.001, 0.002, 0.004),
        lambda c: c.answered("requests", 500, 0.0, 0.0, 0.004),
        lambda c: c.answered("pinned", 429, 0.0, 0.0, 0.0),
        lambda c: c.answered("requests", 400, 0.0, 0.0, 0.0),
        lambda c: c.ran(8, 3),
        lambda c: c.left(),
    ],
)
def test_every_plain_count_is_the_sum(
    pair: tuple[Process, Process, Together], count: Callable[[Counters], None]
) -> None:
    first, second, together = pair
    one = Counters(clock=Clock(0.0, NOON))
    for counters in (first.counters, second.counters, one, one):
        count(counters)

    together.close(min(first.tell(50.0, together), second.tell(50.0, together)))

    assert (together.codes, together.throttled, together.client_errors, together.gone, together.dropped) == (
        one.codes, one.throttled, one.client_errors, one.gone, 1,
    )  # fmt: skip
    assert together.further == {"401": 2}
    for name in ("queue_seconds", "compute_seconds", "batch_rows", "batch_requests"):
        assert (getattr(together, name).counts, getattr(together, name).sum) == (
            getattr(one, name).counts, getattr(one, name).sum,
        )  # fmt: skip


def test_golden_samples_and_comparisons_are_those_of_the_main_process() -> None:
    own = Counters(clock=Clock(0.0, NOON))
    own.lanes["synthetic"].add(0.5, 0.01, False)
    own.divergence.add(0.5, True, {})
    together = Together(own, {})

    together.close(NOON + 2)

    assert (together.evidence()["synthetic"]["n"], together.evidence()["divergence"]["n"]) == (1, 1)
    assert (together.instance, together.clock.start) == (own.instance, own.clock.start)


def test_statistics_of_several_processes_add_up() -> None:
    one = Sums(served=1, failed=2, inferences=3, runs=1, success=0.5, last=9.0, sizes={1: Runs(1, 0.1)})
    other = Sums(served=4, runs=2, success=0.25, last=7.0, sizes={1: Runs(2, 0.3), 8: Runs(1, 0.2)})

    both = one.plus(other)

    assert (both.served, both.failed, both.inferences, both.runs, both.success, both.last) == (5, 2, 3, 3, 0.75, 9.0)
    assert both.sizes == {1: Runs(3, 0.4), 8: Runs(1, 0.2)}
    assert one.sizes == {1: Runs(1, 0.1)}
