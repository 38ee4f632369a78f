"""Intervals, blocks and segments: how counts are put together for the tests.

An interval ends when its time is over; then it joins the totals and the last six, which the tests also look at alone.
Blocks of at least ten seconds show clumps that seconds do not show.  A segment ends when the share of the traffic
changes: only within one are the two versions comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from tidegate.api.evidence import MAX_SEGMENTS, RECENT_INTERVALS, Block, Evidence, Interval, Segment, Tally
from tidegate.plan.signals import DIGITS, allowed_share, is_comparison

BLOCK = timedelta(seconds=10)
EARLY = 0.9  # a look that comes a little early still ends the interval: whoever looks has a clock of its own


def _counts(a: Sequence[int], b: Sequence[int], sign: int = 1) -> tuple[int, ...]:
    if not b:
        return tuple(a)
    return tuple([max(0, x + sign * y) for x, y in zip(a or (0,) * len(b), b, strict=True)])


def _amounts(a: Sequence[float], b: Sequence[float], sign: int = 1) -> tuple[float, ...]:
    if not b:
        return tuple(a)
    return tuple([max(0.0, round(x + sign * y, DIGITS)) for x, y in zip(a or (0.0,) * len(b), b, strict=True)])


def combined(a: Tally, b: Tally, sign: int = 1) -> Tally:
    """The sum or the difference of two tallies; a server that contradicts itself counts as nothing, never less."""
    return Tally(
        requests=max(0, a.requests + sign * b.requests),
        bins=max(0, a.bins + sign * b.bins),
        compared=max(0, a.compared + sign * b.compared),
        compared_bins=max(0, a.compared_bins + sign * b.compared_bins),
        bad=_counts(a.bad, b.bad, sign),
        squares=_amounts(a.squares, b.squares, sign),
        blocks=max(0, a.blocks + sign * b.blocks),
        compared_blocks=max(0, a.compared_blocks + sign * b.compared_blocks),
        block_squares=_amounts(a.block_squares, b.block_squares, sign),
    )


def both(a: Interval, b: Interval) -> Interval:
    return Interval(stable=combined(a.stable, b.stable), candidate=combined(a.candidate, b.candidate))


def with_segment(segments: tuple[Segment, ...], share: str, brought: Interval) -> tuple[Segment, ...]:
    """`segments` with what an interval brought; another share begins a new one."""
    if not segments or segments[-1].share != share:
        segments = (*_room(segments), Segment(share=share))
    last = segments[-1]
    new = Segment(
        share=share,
        stable_requests=last.stable_requests + brought.stable.requests,
        candidate_requests=last.candidate_requests + brought.candidate.requests,
        stable_bad=_counts(last.stable_bad, brought.stable.bad),
        candidate_bad=_counts(last.candidate_bad, brought.candidate.bad),
    )
    return (*segments[:-1], new)


def _room(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Room for one more: the two segments whose observed shares are most alike become one."""
    if len(segments) < MAX_SEGMENTS:
        return segments
    ordered = sorted(segments, key=_observed)
    i = min(range(len(ordered) - 1), key=lambda i: _observed(ordered[i + 1]) - _observed(ordered[i]))
    a, b = ordered[i : i + 2]
    merged = Segment(
        share=a.share,
        stable_requests=a.stable_requests + b.stable_requests,
        candidate_requests=a.candidate_requests + b.candidate_requests,
        stable_bad=_counts(a.stable_bad, b.stable_bad),
        candidate_bad=_counts(a.candidate_bad, b.candidate_bad),
    )
    return (*ordered[:i], merged, *ordered[i + 2 :])


def _observed(segment: Segment) -> float:
    return segment.candidate_requests / max(1, segment.candidate_requests + segment.stable_requests)


def closed(evidence: Evidence, interval: timedelta, now: datetime) -> Evidence:
    """`evidence` with its open interval closed, if its time is over."""
    if now - evidence.interval_started_at < EARLY * interval:
        return evidence
    latest, block = _with_block(evidence, BLOCK - (1 - EARLY) * interval, now)
    return evidence.model_copy(
        update={
            "interval_started_at": now,
            "intervals": evidence.intervals + 1,
            "stable": combined(evidence.stable, latest.stable),
            "candidate": combined(evidence.candidate, latest.candidate),
            "recent": (*evidence.recent, latest)[-RECENT_INTERVALS:],
            "open": Interval(),
            "block": block,
            "exceeded": _counted(evidence.exceeded, [_exceeds(evidence, latest, i) for i in _places(evidence)]),
            "increased": _counted(evidence.increased, [_increases(evidence, latest, i) for i in _places(evidence)]),
        }
    )


def _with_block(evidence: Evidence, length: timedelta, now: datetime) -> tuple[Interval, Block]:
    """The interval that ends, holding the block that ends with it, and the block that goes on."""
    sums = both(evidence.block.counts, evidence.open)
    if now - evidence.block.started_at < length:
        return evidence.open, evidence.block.model_copy(update={"counts": sums})
    latest = Interval(
        stable=_ending(evidence.open.stable, sums.stable, evidence.signals),
        candidate=_ending(evidence.open.candidate, sums.candidate, evidence.signals),
    )
    return latest, Block(started_at=now)


def _ending(tally: Tally, block: Tally, signals: Sequence[str]) -> Tally:
    squares = []
    for name, bad in zip(signals, block.bad, strict=False):
        n = exposure(block, name)
        squares.append(round(bad * bad / n, DIGITS) if n else 0.0)
    return tally.model_copy(
        update={
            "blocks": int(block.requests > 0),
            "compared_blocks": int(block.compared > 0),
            "block_squares": tuple(squares),
        }
    )


def exposure(tally: Tally, signal: str) -> int:
    """Among how many the bad events of a signal are."""
    return tally.compared if is_comparison(signal) else tally.requests


def rate(tally: Tally, signals: Sequence[str], place: int) -> float:
    """The share of bad events; 0 where there was nothing."""
    n = exposure(tally, signals[place])
    return tally.bad[place] / n if n and tally.bad else 0.0


# What the plain comparison (confidence: 0) wants to know of each interval.


def _places(evidence: Evidence) -> range:
    return range(len(evidence.signals))


def _counted(counts: Sequence[int], events: Sequence[bool]) -> tuple[int, ...]:
    return tuple(count + event for count, event in zip(counts, events, strict=True))


def _exceeds(evidence: Evidence, interval: Interval, place: int) -> bool:
    ceiling = evidence.ceilings[place]
    return bool(ceiling) and rate(interval.candidate, evidence.signals, place) > ceiling


def _increases(evidence: Evidence, interval: Interval, place: int) -> bool:
    ratio = evidence.ratios[place]
    if not ratio or not interval.stable.requests:
        return False
    own = rate(interval.candidate, evidence.signals, place)
    stable = rate(interval.stable, evidence.signals, place)
    return own > ratio * stable and own > allowed_share(evidence.signals[place])
