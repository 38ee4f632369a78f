"""The statistics of a rollout: tests that may be looked at after every interval without lying more often.

Each test is an e-process: the likelihood ratio of the counts under worse rates against the limit, averaged over a
grid of worse rates.  If the true rate is within the limit, the chance that it *ever* exceeds 1/α is at most α
(Ville's inequality), however often one looks.  Three things make it fit for servers (docs/analysis.md):

- errors come in clumps: all counts are divided by the dispersion φ, measured over seconds and over ten seconds;
- a version that breaks after good minutes must not hide behind them: the last 1, 3 and 6 intervals are tested alone,
  with φ from what lies before (a break must not excuse itself);
- swings that hit both versions cancel in the guard: given a bad event, whose was it?  Only exposures matter.

Pure arithmetic on counts; what a count means and what follows from a verdict is in `evidence` and `verdict`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, inf, log, sqrt

GRID_POINTS = 48
FIRST_STEP = 1.05  # the grid's first rate, in odds against the limit's odds
REACH = 60.0  # and its last
MOST_ODDS = 99.0
PRIOR_BINS = 20  # so many bins of unclumped events are believed before the first one is seen
WINDOWS = (1, 3, 6)
PASS_INTERVALS = 12  # clumps larger than an interval show only after some intervals
PASS_DISPERSION = 2.0
PASS_LEVEL = 0.05
# What is believed of clumps before much was seen (docs/analysis.md has the simulations): a version that was never
# watched may have bursts of ten, and one whose errors nobody has seen may have them in sixes when it is to pass.
FIRST_CLUMP = 10.0
UNSEEN_CLUMP = 6.0
UNSEEN_EVENTS = 10


@dataclass(frozen=True, slots=True)
class Sums:
    """Counts of one version: bad events among n, and how they clump over seconds and over longer blocks."""

    n: int = 0
    bad: int = 0
    squares: float = 0.0  # sum over seconds of bad²/n
    bins: int = 0  # seconds with traffic
    block_squares: float = 0.0  # the same over blocks of at least ten seconds
    blocks: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.n + other.n,
            self.bad + other.bad,
            self.squares + other.squares,
            self.bins + other.bins,
            self.block_squares + other.block_squares,
            self.blocks + other.blocks,
        )

    def __sub__(self, other: Sums) -> Sums:
        return Sums(
            self.n - other.n,
            self.bad - other.bad,
            self.squares - other.squares,
            self.bins - other.bins,
            self.block_squares - other.block_squares,
            self.blocks - other.blocks,
        )


@dataclass(frozen=True, slots=True)
class Exposure:
    """Counts of both versions over a time in which the share of the traffic stayed the same."""

    stable_n: int
    stable_bad: int
    candidate_n: int
    candidate_bad: int


@dataclass(frozen=True, slots=True)
class Story:
    """All that is known about one kind of bad event: totals, the last intervals, and the segments."""

    before: Sums  # the stable version before the rollout
    stable: Sums
    candidate: Sums
    recent: Sequence[tuple[Sums, Sums]]  # (stable, candidate) by interval, the newest last
    intervals: int  # that are over
    segments: Sequence[Exposure]


@dataclass(frozen=True, slots=True)
class Levels:
    """What the logarithm of an e-value must exceed."""

    whole: float
    window: float
    passing: float = -log(PASS_LEVEL)


@dataclass(frozen=True, slots=True)
class Tested:
    """What a test says; the logarithms of the e-values are over the whole rollout."""

    fails: bool
    passes: bool
    log_fail: float
    log_pass: float
    alike: bool = False  # wherever it fails, the stable version was above the limit too


def levels(alpha: float, looks: int) -> Levels:
    """Half of `alpha` to the whole rollout; half to the windows, each of them at each look."""
    return Levels(whole=log(2 / alpha), window=log(2 * len(WINDOWS) * max(looks, 1) / alpha))


# The dispersion.


def spread(n: int, bad: int, squares: float, bins: int) -> float:
    """χ² of the bins around the version's own share, per degree of freedom, drawn towards 1 by the prior."""
    if not 0 < bad < n:
        return 1.0
    share = bad / n
    chi_squared = max(0.0, squares - bad * share) / (share * (1 - share))
    return (PRIOR_BINS + chi_squared) / (PRIOR_BINS + bins - 1)


def clumping(sums: Sums) -> float:
    """The larger spread of one version: over seconds or over blocks."""
    return max(
        spread(sums.n, sums.bad, sums.squares, sums.bins),
        spread(sums.n, sums.bad, sums.block_squares, sums.blocks) if sums.blocks > 1 else 1.0,
    )


# The e-processes.  Each gives the logarithm of an e-value; what one below 1 would be worth nobody asks.


@lru_cache(maxsize=256)
def rate_grid(limit: float, reach: float) -> tuple[tuple[float, float], ...]:
    """log(p/limit) and log((1-p)/(1-limit)) for the grid of rates p above the limit, or below for a reach under 1."""
    odds = limit / (1 - limit)
    first = odds * (FIRST_STEP if reach > 1 else 1 / FIRST_STEP)
    last = max(first, min(odds * reach, MOST_ODDS)) if reach > 1 else odds * reach
    ratio = (last / first) ** (1 / (GRID_POINTS - 1))
    rates = [o / (1 + o) for o in (first * ratio**i for i in range(GRID_POINTS))]
    return tuple((log(p / limit), log((1 - p) / (1 - limit))) for p in rates)


@lru_cache(maxsize=64)
def ratio_grid(limit: float) -> tuple[float, ...]:
    """The grid of rate ratios above the limit."""
    step = (REACH / FIRST_STEP) ** (1 / (GRID_POINTS - 1))
    return tuple(limit * FIRST_STEP * step**i for i in range(GRID_POINTS))


def log_mean(logs: Sequence[float]) -> float:
    """The logarithm of the mean of what `logs` are the logarithms of."""
    top = max(logs)
    return top + log(sum([exp(value - top) for value in logs]) / len(logs))


def log_above(sums: Sums, limit: float, phi: float) -> float:
    """Evidence that the rate is above the limit."""
    if sums.bad <= sums.n * limit:
        return 0.0
    bad, good = sums.bad / phi, (sums.n - sums.bad) / phi
    return max(0.0, log_mean([bad * a + good * b for a, b in rate_grid(limit, REACH)]))


def log_below(sums: Sums, limit: float, phi: float) -> float:
    """Evidence that the rate is below the limit."""
    if sums.bad >= sums.n * limit:
        return 0.0
    bad, good = sums.bad / phi, (sums.n - sums.bad) / phi
    return max(0.0, log_mean([bad * a + good * b for a, b in rate_grid(limit, 1 / REACH)]))


def log_ratio(segments: Iterable[Exposure], limit: float, phi: float) -> float:
    """Evidence that the candidate's rate is more than `limit` times the stable version's."""
    told = [s for s in segments if s.stable_n and s.candidate_n and (s.stable_bad or s.candidate_bad)]
    expected = sum(
        (s.stable_bad + s.candidate_bad) * s.candidate_n * limit / (s.candidate_n * limit + s.stable_n) for s in told
    )
    own = sum(s.candidate_bad for s in told)
    if own <= expected:
        return 0.0  # the likelihood is concave: it only falls from here
    return max(0.0, log_mean([_log_ratio_at(told, own, limit, ratio) / phi for ratio in ratio_grid(limit)]))


def _log_ratio_at(segments: Sequence[Exposure], own: int, limit: float, ratio: float) -> float:
    shared = 0.0
    for s in segments:
        moved = (s.candidate_n * ratio + s.stable_n) / (s.candidate_n * limit + s.stable_n)
        shared += (s.stable_bad + s.candidate_bad) * log(moved)
    return own * log(ratio / limit) - shared


def most_log_ratio(segments: Iterable[Exposure], limit: float) -> float:
    """What `log_ratio` cannot exceed at φ = 1, for a tenth of its cost: every bad event was surely the candidate's."""
    return sum(s.candidate_bad * log(1 + s.stable_n / (s.candidate_n * limit)) for s in segments if s.candidate_bad)


# The tests.


def _phi(candidate: Sums, stable: Sums) -> float:
    known = candidate.bins + stable.bins
    first = (PRIOR_BINS * FIRST_CLUMP + known) / (PRIOR_BINS + known)
    return max(first, clumping(candidate), clumping(stable))


def phi_of(story: Story) -> float:
    """The dispersion by all that is known: by how much all counts are divided.  Never below 1."""
    return _phi(story.candidate, story.before + story.stable)


def phi_to_pass(story: Story, phi: float) -> float:
    """The dispersion for passing: clumps that nobody has seen yet are possible until some bad events were seen."""
    seen = story.candidate.bad + story.stable.bad + story.before.bad
    return max(phi, PASS_DISPERSION, (UNSEEN_EVENTS * UNSEEN_CLUMP + seen) / (UNSEEN_EVENTS + seen))


def phi_before(story: Story, window: int) -> float:
    """The dispersion by what lies before the last intervals: neither version's break excuses itself."""
    stable, candidate = _latest(story, window)
    return _phi(story.candidate - candidate, story.before + story.stable - stable)


def phi_apart(story: Story, window: int) -> float:
    """The same with all of the stable version: what shakes both versions now weakens the comparison of the two."""
    return _phi(story.candidate - _latest(story, window)[1], story.before + story.stable)


def _latest(story: Story, window: int) -> tuple[Sums, Sums]:
    """(stable, candidate) over the last intervals."""
    recent = story.recent[-window:]
    return sum((stable for stable, _ in recent), Sums()), sum((own for _, own in recent), Sums())


def absolute_test(story: Story, limit: float, level: Levels) -> Tested:
    """Whether the candidate's share of bad events is above the limit, or below it."""
    phi = phi_of(story)
    log_fail = log_above(story.candidate, limit, phi)
    log_pass = log_below(story.candidate, limit, phi_to_pass(story, phi))
    broken = [stable for stable, own, window in _horizons(story) if _is_above(story, own, window, limit, level)]
    if log_fail > level.whole:
        broken.append(story.stable)
    passes = not broken and log_pass > level.passing and story.intervals >= PASS_INTERVALS
    alike = bool(broken) and all(stable.bad > stable.n * limit for stable in broken)
    return Tested(bool(broken), passes, log_fail, log_pass, alike)


def _horizons(story: Story) -> Iterable[tuple[Sums, Sums, int]]:
    """(stable, candidate) over each window that there was time for."""
    return [(*_latest(story, window), window) for window in WINDOWS if window <= len(story.recent)]


def _is_above(story: Story, own: Sums, window: int, limit: float, level: Levels) -> bool:
    if own.bad * -log(limit) <= level.window:
        return False  # the e-value's logarithm cannot exceed bad · log(1/limit)
    return log_above(own, limit, phi_before(story, window)) > level.window


def guard_test(story: Story, ratio: float, allowed: float, level: Levels) -> Tested:
    """Whether the candidate's rate is above `allowed` and more than `ratio` times the stable version's.

    A guard never passes.
    """
    log_fail = log_ratio(story.segments, ratio, phi_of(story))
    above = story.candidate.bad > story.candidate.n * allowed
    fails = (above and log_fail > level.whole) or _parts(story, ratio, allowed, level)
    return Tested(fails, False, log_fail, 0.0)


def _parts(story: Story, ratio: float, allowed: float, level: Levels) -> bool:
    """Whether the versions part in the last intervals alone; each interval is its own segment."""
    exposures = [Exposure(stable.n, stable.bad, own.n, own.bad) for stable, own in story.recent]
    for window in WINDOWS:
        latest = exposures[-window:]
        if window > len(exposures) or most_log_ratio(latest, ratio) <= level.window:
            continue
        above = sum(e.candidate_bad for e in latest) > allowed * sum(e.candidate_n for e in latest)
        if above and log_ratio(latest, ratio, phi_apart(story, window)) > level.window:
            return True
    return False


def rate_upper_bound(sums: Sums) -> float:
    """A rate that the version very likely did not exceed (Wilson, 99 %, counts divided by their dispersion)."""
    z, n = 2.3263, sums.n / max(1.0, clumping(sums))
    if not n:
        return inf
    share = sums.bad / sums.n
    centre, width = share + z * z / (2 * n), z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (centre + width) / (1 + z * z / n)
