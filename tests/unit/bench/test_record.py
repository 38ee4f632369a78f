"""What is known of a p99, and how surely."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tidegate.bench.record import Record, Verdict, effective_size, quantile_interval

LIMIT = 0.03


def filled(latencies: list[float]) -> Record:
    """Evenly over ten seconds."""
    record = Record()
    for number, latency in enumerate(latencies):
        intended = 10.0 * number / len(latencies)
        record.answered(intended, intended + latency, 200)
    return record


def test_a_few_quick_answers_prove_nothing() -> None:
    assert filled([0.01] * 100).verdict(LIMIT) is Verdict.UNDECIDED
    assert Record().verdict(LIMIT) is Verdict.UNDECIDED


def test_many_quick_answers_hold_the_limit() -> None:
    assert filled([0.01] * 400).verdict(LIMIT) is Verdict.HOLDS


def test_slow_answers_again_and_again_exceed_it() -> None:
    assert filled([0.01] * 19 * 50 + [0.05] * 50).verdict(LIMIT) is not Verdict.HOLDS
    assert filled(([0.01] * 19 + [0.05]) * 50).verdict(LIMIT) is Verdict.EXCEEDS


def test_one_clump_of_slow_answers_may_have_been_chance() -> None:
    spread = filled(([0.01] * 24 + [0.05]) * 80)
    clump = filled([0.01] * 1000 + [0.05] * 80 + [0.01] * 920)

    assert spread.verdict(LIMIT) is Verdict.EXCEEDS
    assert clump.verdict(LIMIT) is Verdict.UNDECIDED


def test_whoever_gets_an_error_has_waited_in_vain() -> None:
    record = filled([0.01] * 990)
    for _ in range(20):
        record.answered(5.0, 5.001, 429)

    assert record.failures == {429: 20}
    assert record.p99_interval()[1] == math.inf


def test_without_a_limit_it_is_failures_that_exceed_it() -> None:
    refused = filled([0.01] * 400)
    for number in range(400):
        refused.answered(number / 40, number / 40, 429)

    assert refused.verdict(math.inf) is Verdict.EXCEEDS
    assert filled([0.01] * 400).verdict(math.inf) is Verdict.HOLDS


def test_the_warm_up_leaves_no_trace() -> None:
    record = Record(since=2.0)
    record.answered(1.9, 2.5, 200)
    record.answered(1.9, 2.5, 500)
    record.answered(2.0, 2.5, 200)

    assert len(record) == 1
    assert record.latencies.tolist() == [0.5]
    assert record.failures == {}


def test_the_lateness_of_the_warm_up_leaves_no_trace_either() -> None:
    record = Record(since=2.0)
    record.sent(1.9, 2.5)
    record.sent(2.0, 2.1)

    assert record.lag == pytest.approx(0.1)


def test_a_request_that_was_never_sent_has_waited_but_was_not_answered() -> None:
    record = Record(since=2.0)
    record.answered(2.0, 2.5, 200)
    record.unsent(1.0, 9.0)
    record.unsent(3.0, 9.0)

    assert record.latencies.tolist() == [0.5, 6.0]
    assert record.answers == (1, 0.5)


def test_a_glimpse_of_very_many_answers_shows_the_same() -> None:
    record = filled(([0.01] * 24 + [0.05]) * 40_000)

    some = record.glimpse()

    assert len(some) <= 20_000
    assert some.verdict(LIMIT) is Verdict.EXCEEDS
    assert len(filled([0.01] * 100).glimpse()) == 100


def test_the_true_p99_is_nearly_always_within_the_interval() -> None:
    chance, true, within = np.random.default_rng(3), math.log(100), 0
    for _ in range(300):
        low, high = quantile_interval(np.sort(chance.exponential(size=2000)), 0.99, 2000)
        within += low <= true <= high

    assert within >= 0.92 * 300


def test_too_few_answers_leave_the_p99_open_upwards() -> None:
    low, high = quantile_interval(np.linspace(0, 1, 300), 0.99, 300)

    assert low == pytest.approx(0.98, abs=0.01)
    assert high == math.inf
    assert filled([0.01] * 2000).p99_interval() == pytest.approx((0.01, 0.01))


def test_answers_that_share_their_fate_count_as_one() -> None:
    when = np.linspace(0, 10, 2000)
    even, together = np.zeros(2000, bool), np.zeros(2000, bool)
    even[::20] = True
    together[:100] = True

    assert effective_size(even, when) == 2000
    assert effective_size(together, when) < 40
