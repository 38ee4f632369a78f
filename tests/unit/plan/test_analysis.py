"""The statistics: what an e-value may and may not do, whatever the traffic."""

from __future__ import annotations

import random
from math import exp, inf, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.plan.analysis import (
    Exposure,
    Levels,
    Story,
    Sums,
    absolute_test,
    clumping,
    guard_test,
    levels,
    log_above,
    log_below,
    log_ratio,
    most_log_ratio,
    phi_apart,
    phi_before,
    phi_of,
    phi_to_pass,
    rate_grid,
    rate_upper_bound,
    ratio_grid,
    spread,
)

LIMITS = st.floats(1e-4, 0.9)
COUNTS = st.integers(0, 5000)
LEVEL = levels(0.005, 60)


def interval(n: int, bad: int, bins: int = 10) -> Sums:
    """An interval of ten seconds whose bad events are spread evenly."""
    return Sums(n, bad, bad * bad / n if n else 0.0, bins, bad * bad / n if n else 0.0, 1)


def story(own: list[Sums], stable: list[Sums] | None = None, before: Sums | None = None) -> Story:
    """A rollout by intervals; the stable version has nine times the traffic and two errors in a thousand."""
    stable = stable or [interval(10_000, 20) for _ in own]
    totals, others = sum(own, Sums()), sum(stable, Sums())
    return Story(
        before=before or sum([interval(10_000, 20)] * 60, Sums()),
        stable=others,
        candidate=totals,
        recent=list(zip(stable, own, strict=True))[-6:],
        intervals=len(own),
        segments=[Exposure(others.n, others.bad, totals.n, totals.bad)],
    )


def ever_above(rng: random.Random, alpha: float) -> bool:
    """Whether a version exactly at its limit is ever called bad in 150 looks."""
    n = bad = 0
    for _ in range(150):
        n, bad = n + 20, bad + sum(rng.random() < 0.05 for _ in range(20))
        if log_above(Sums(n, bad), 0.05, 1.0) > -log(alpha):
            return True
    return False


def ever_parted(rng: random.Random, alpha: float) -> bool:
    """Whether a candidate exactly at the guard's ratio is ever called worse; the traffic shifts in between."""
    segments: list[Exposure] = []
    for own, stable in ((10, 90), (50, 50)):
        n = [0, 0, 0, 0]
        for _ in range(40):
            n = [n[0] + stable, n[1] + sum(rng.random() < 0.04 for _ in range(stable)),
                 n[2] + own, n[3] + sum(rng.random() < 0.06 for _ in range(own))]  # fmt: skip
            if log_ratio([*segments, Exposure(*n)], 1.5, 1.0) > -log(alpha):
                return True
        segments.append(Exposure(*n))
    return False


@pytest.mark.parametrize("ever", [ever_above, ever_parted])
def test_looking_often_does_not_make_a_false_alarm_more_likely_than_alpha(ever: object) -> None:
    rng, runs, alpha = random.Random(5), 150, 0.1
    alarms = sum(ever(rng, alpha) for _ in range(runs))  # type: ignore[operator]
    assert alarms <= alpha * runs + 2 * (runs * alpha * (1 - alpha)) ** 0.5


@settings(deadline=None)
@given(LIMITS)
def test_the_grids_hold_rates_on_their_side_of_the_limit_and_between_0_and_1(limit: float) -> None:
    for up, down in rate_grid(limit, 60.0):
        assert up > 0 > down
        assert limit * exp(up) < 1
    for up, down in rate_grid(limit, 1 / 60.0):
        assert up < 0 < down
    assert ratio_grid(limit)[0] == pytest.approx(1.05 * limit)
    assert ratio_grid(limit)[-1] == pytest.approx(60 * limit)


@settings(deadline=None)
@given(n=COUNTS, bad=COUNTS, limit=LIMITS)
def test_more_bad_events_are_more_evidence_against_and_less_for_a_version(n: int, bad: int, limit: float) -> None:
    bad = min(bad, n)
    less, more = Sums(n + 1, bad), Sums(n + 1, bad + 1)
    assert log_above(less, limit, 1.0) <= log_above(more, limit, 1.0) + 1e-9
    assert log_below(less, limit, 1.0) >= log_below(more, limit, 1.0) - 1e-9


@settings(deadline=None)
@given(n=COUNTS, bad=COUNTS, limit=LIMITS, phi=st.floats(1, 50))
def test_clumps_weaken_evidence_in_both_directions(n: int, bad: int, limit: float, phi: float) -> None:
    seen = Sums(n, min(bad, n))
    assert log_above(seen, limit, phi) <= log_above(seen, limit, 1.0) + 1e-9
    assert log_below(seen, limit, phi) <= log_below(seen, limit, 1.0) + 1e-9


@settings(deadline=None)
@given(st.lists(st.builds(Exposure, COUNTS, COUNTS, COUNTS, COUNTS), max_size=4), st.floats(1, 20))
def test_the_cheap_bound_of_the_guard_is_a_bound(segments: list[Exposure], ratio: float) -> None:
    segments = [s for s in segments if s.candidate_n]
    assert log_ratio(segments, ratio, 1.0) <= most_log_ratio(segments, ratio) + 1e-6


def test_independent_errors_are_not_called_clumped_and_bursts_are() -> None:
    rng = random.Random(3)
    single = [sum(rng.random() < 0.02 for _ in range(50)) for _ in range(2000)]
    bursts = [25 * (rng.random() < 0.04) for _ in range(2000)]
    for bad, least, most in ((single, 0.8, 1.2), (bursts, 10, 26)):
        n = 50 * len(bad)
        assert least < spread(n, sum(bad), sum(k * k / 50 for k in bad), len(bad)) < most


@pytest.mark.parametrize("bad", [0, 100])
def test_a_version_that_is_always_good_or_always_bad_says_nothing_about_clumps(bad: int) -> None:
    assert spread(100, bad, bad, 10) == 1.0


def test_clumps_are_seen_at_the_scale_of_seconds_or_of_blocks_whichever_shows_more() -> None:
    by_second, by_block = Sums(5000, 50, 25.0, 100, 0.5, 10), Sums(5000, 50, 0.5, 100, 5.0, 10)
    assert clumping(by_second) > 10
    assert clumping(by_block) > 5
    assert clumping(Sums(5000, 50, 0.5, 100, 5.0, 1)) == 1  # of a single block nothing is known


def test_a_version_nobody_has_watched_may_have_clumps() -> None:
    new = Story(Sums(), Sums(), interval(100, 0), [], 1, [])
    old = story([interval(100, 0)])
    assert phi_of(new) > 5
    assert 1 <= phi_of(old) < 1.5


def test_a_break_does_not_excuse_itself() -> None:
    calm = [interval(1000, 2) for _ in range(20)]
    burst = Sums(1000, 300, 250.0, 10, 90.0, 1)
    broken = story([*calm, burst])
    assert phi_before(broken, 1) < 1.5
    assert phi_of(broken) > 3


def test_what_shakes_both_versions_weakens_their_comparison() -> None:
    burst = Sums(1000, 300, 250.0, 10, 90.0, 1)
    shaken = story([interval(1000, 2)] * 21, [*[interval(1000, 2)] * 20, burst])
    assert phi_before(shaken, 1) < 1.5
    assert phi_apart(shaken, 1) > 1.5


def test_a_break_after_good_minutes_is_seen_in_one_interval() -> None:
    good = [interval(50, 0) for _ in range(60)]
    broken = [*good, interval(50, 15)]
    assert not absolute_test(story(good), 0.05, LEVEL).fails
    assert log_above(story(broken).candidate, 0.05, 1.0) < LEVEL.whole  # hidden behind the good minutes
    assert absolute_test(story(broken), 0.05, LEVEL).fails


def test_a_slow_leak_is_seen_over_the_whole_rollout() -> None:
    leaking = [interval(500, 10) for _ in range(30)]
    assert absolute_test(story(leaking), 0.01, LEVEL).fails


def test_a_failure_is_alike_when_the_stable_version_was_above_the_limit_wherever_the_candidate_fails() -> None:
    good, bad = (interval(9000, 18), interval(1000, 2)), (interval(9000, 2700), interval(1000, 300))
    alone = (interval(9000, 18), interval(1000, 300))

    def tested(*intervals: tuple[Sums, Sums]) -> tuple[bool, bool]:
        found = absolute_test(story([own for _, own in intervals], [s for s, _ in intervals]), 0.05, LEVEL)
        return found.fails, found.alike

    assert tested(*[good] * 30) == (False, False)
    assert tested(*[good] * 30, bad) == (True, True)
    assert tested(*[good] * 30, alone) == (True, False)
    assert tested(*[alone] * 30) == (True, False)


def test_a_pass_never_comes_before_twelve_intervals() -> None:
    early, late = story([interval(5000, 0)] * 11), story([interval(5000, 0)] * 12)
    assert not absolute_test(early, 0.01, LEVEL).passes
    assert absolute_test(late, 0.01, LEVEL).passes


def test_a_version_that_fails_does_not_pass() -> None:
    hidden = story([*[interval(5000, 0)] * 40, interval(5000, 2000)])
    tested = absolute_test(hidden, 0.05, LEVEL)
    assert tested.fails
    assert not tested.passes


def test_passing_takes_longer_where_nobody_has_seen_an_error_yet() -> None:
    known = story([interval(100, 0)] * 12)
    unknown = story([interval(100, 0)] * 12, [interval(900, 0)] * 12, before=interval(10_000, 0, 600))
    assert phi_to_pass(known, 1.0) == 2.0
    assert phi_to_pass(unknown, 1.0) == 6.0
    assert absolute_test(known, 0.01, LEVEL).passes
    assert not absolute_test(unknown, 0.01, LEVEL).passes


def test_an_outage_that_hits_both_versions_is_no_evidence_against_the_candidate() -> None:
    good = [(interval(9000, 18), interval(1000, 2))] * 20
    outage = (interval(9000, 4500), interval(1000, 500))
    intervals = [*good, outage]
    shared = story([own for _, own in intervals], [stable for stable, _ in intervals])
    assert not guard_test(shared, 1.5, 0.0, LEVEL).fails


def test_the_guard_fails_a_candidate_that_is_much_worse_than_the_stable_version() -> None:
    worse = story([interval(1000, 20)] * 30)
    tested = guard_test(worse, 1.5, 0.0, LEVEL)
    assert tested.fails
    assert not tested.passes


def test_the_guard_sees_a_break_in_the_last_intervals_alone() -> None:
    whole = Levels(whole=inf, window=LEVEL.window)
    assert guard_test(story([*[interval(1000, 2)] * 30, interval(1000, 200)]), 1.5, 0.0, whole).fails
    assert not guard_test(story([interval(1000, 2)] * 30), 1.5, 0.0, whole).fails


def test_the_guard_accepts_what_is_allowed_whatever_the_stable_version_does() -> None:
    worse = story([interval(1000, 20)] * 30)
    assert not guard_test(worse, 1.5, 0.05, LEVEL).fails
    broken = story([*[interval(1000, 2)] * 30, interval(1000, 200)])
    assert not guard_test(broken, 1.5, 0.5, LEVEL).fails


def test_without_traffic_on_the_stable_version_the_guard_says_nothing() -> None:
    assert log_ratio([Exposure(0, 0, 1000, 900)], 1.5, 1.0) == 0.0


def test_the_guard_is_not_fooled_when_traffic_shifts_while_the_rates_swing() -> None:
    calm, storm = Exposure(9000, 9, 1000, 1), Exposure(5000, 250, 5000, 250)
    assert log_ratio([calm, storm], 1.5, 1.0) == 0.0
    mixed = Exposure(14_000, 259, 6000, 251)  # without segments the candidate looks 2.3 times worse
    assert log_ratio([mixed], 1.5, 1.0) > 5


def test_more_looks_and_less_alpha_ask_for_more_evidence() -> None:
    assert levels(0.01, 60).window < levels(0.01, 600).window
    assert levels(0.01, 60).whole < levels(0.001, 60).whole
    assert levels(0.01, 0).window == levels(0.01, 1).window


def test_a_record_bounds_a_rate_from_above_the_tighter_the_longer_it_is() -> None:
    assert rate_upper_bound(Sums()) == inf
    short, long = rate_upper_bound(Sums(100, 1)), rate_upper_bound(Sums(10_000, 100))
    assert 0.01 < long < short < 1
    assert rate_upper_bound(Sums(10_000, 100, 25.0, 100)) > long  # clumps: less is known
