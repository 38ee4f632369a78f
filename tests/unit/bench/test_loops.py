"""Closed and open loops against a simulated server: what each of them sees of a stall."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tests.unit.bench.simulation import Line, Simulation, closed, opened

from tidegate.bench.loops import OpenLoop, arrivals
from tidegate.bench.record import Record, quantile
from tidegate.bench.run import Measured, step_of


def p99(record: Record) -> float:
    return quantile(np.sort(record.latencies), 0.99)


def test_a_stall_that_a_closed_loop_hides_is_in_the_p99_of_an_open_one() -> None:
    stall = (5.0, 7.0)

    seen_closed = closed(Simulation(0.01, stall), 1, 20.0)
    seen_open = opened(Simulation(0.01, stall), 50.0, 20.0)

    assert p99(seen_closed) == pytest.approx(0.01)  # one slow answer among 1,800
    assert p99(seen_open) > 1.5  # whoever came within two seconds waited for their end


def test_a_request_that_waits_for_a_connection_is_late_from_its_own_time() -> None:
    stall = (5.0, 7.0)

    few = opened(Simulation(0.01, stall), 50.0, 20.0, connections=2)
    many = opened(Simulation(0.01, stall), 50.0, 20.0, connections=500)

    assert p99(few) == pytest.approx(p99(many))


def test_what_still_waits_at_the_end_has_waited_until_then() -> None:
    record = opened(Simulation(0.1), rate=100.0, seconds=10.0, connections=1)

    assert len(record) > 900
    assert p99(record) > 8.0


def test_an_overloaded_server_answers_no_more_than_it_can() -> None:
    record = opened(Simulation(0.01), rate=300.0, seconds=10.0, connections=4)

    step = step_of(record, Measured(10.0, 0.0, 0.0), 1.0, rate=300.0, connections=4)

    assert 95 < step.answered <= 100


def test_requests_keep_their_order_and_their_turn() -> None:
    sent: list[tuple[bytes, float]] = []

    class Noting(Line):
        def send(self, request: bytes, intended: float) -> None:
            sent.append((request, intended))

    server = Simulation(0.0)
    loop = OpenLoop([b"a", b"b"], Record(), server.clock, iter([1.0, 2.0, 3.0, 9.0]))
    loop.free(Noting(server))
    server.now = 3.0
    following = loop.send_due()
    loop.free(Noting(server))
    loop.free(Noting(server))

    assert sent == [(b"a", 1.0), (b"b", 2.0), (b"a", 3.0)]
    assert following == 9.0


def test_the_load_generator_counts_its_own_lateness_only_where_nothing_had_to_be_waited_for() -> None:
    server = Simulation(0.01)
    loop = OpenLoop([b"r"], Record(), server.clock, iter([1.0, 1.001, 9.0]))
    loop.free(Line(server, loop))
    server.now = 1.25

    loop.send_due()

    assert loop.record.lag == pytest.approx(0.25)


def test_a_connection_that_is_lost_is_sent_nothing_more() -> None:
    server = Simulation(0.01)
    loop = OpenLoop([b"r"], Record(), server.clock, iter([1.0, 9.0]))
    line = Line(server, loop)
    loop.free(line)
    loop.lost(line)
    server.now = 2.0

    loop.send_due()

    assert server.sent == 0


def test_requests_come_each_for_itself_and_the_same_ones_every_time() -> None:
    times = list(itertools.islice(arrivals(100.0, 5.0, 1), 20_000))
    gaps = np.diff(times)

    assert times == list(itertools.islice(arrivals(100.0, 5.0, 1), 20_000))
    assert gaps.mean() == pytest.approx(0.01, rel=0.05)
    assert gaps.std() == pytest.approx(0.01, rel=0.05)  # as in a Poisson process
