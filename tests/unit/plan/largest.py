"""The largest evidence that can really be reached: all that is remembered is full, after months of heavy traffic."""

from __future__ import annotations

from tidegate.api.evidence import (
    MAX_INSTANCES,
    MAX_REMEMBERED,
    MAX_SEGMENTS,
    RECENT_INTERVALS,
    Baseline,
    Block,
    Evidence,
    Interval,
    LatencyLimit,
    Segment,
    Synthetic,
    Tally,
)

from .servers import START

QUANTILES = ("p50", "p90", "p95", "p99", "p99.9")


def largest_evidence(signals: int) -> Evidence:
    """Evidence with so many signals; a month of 1,000 requests a second in totals, a week of 64 servers at 2,000."""
    names = [
        "errors", *(f"latency/{q}" for q in QUANTILES), *(f"latencyIncrease/{q}" for q in QUANTILES),
        "top1", *(f"output/{i}{'o' * 62}" for i in range(8)),
    ][:signals]  # fmt: skip
    month, interval = _tally(2_592_000_000, signals), _tally(20_000, signals)
    return Evidence(
        started_at=START,
        interval_started_at=START,
        stable_revision="r" * 63,
        candidate_revision="s" * 63,
        signals=tuple(names),
        limits=tuple(
            LatencyLimit(signal=name, seconds=0.20208340686212942, stable_seconds=0.16329931618554522)
            for name in names
            if "latency" in name
        ),
        ceilings=(0.0123,) * signals,
        ratios=(1.25,) * signals,
        exceeded=(259_200,) * signals,
        increased=(259_200,) * signals,
        intervals=259_200,
        before=month,
        stable=month,
        candidate=month,
        recent=(Interval(stable=interval, candidate=interval),) * RECENT_INTERVALS,
        open=Interval(stable=interval, candidate=interval),
        block=Block(started_at=START, counts=Interval(stable=interval, candidate=interval)),
        segments=tuple(_segment(i, signals) for i in range(MAX_SEGMENTS)),
        synthetic=Synthetic(stable_requests=10**6, stable_bad=10**5, candidate_requests=10**6, candidate_bad=10**5),
        baselines=tuple(_baseline(i, signals) for i in range(min(MAX_INSTANCES, MAX_REMEMBERED // signals))),
    )


def _tally(requests: int, signals: int) -> Tally:
    seconds = max(10, requests // 1000)
    return Tally(
        requests=requests,
        bins=seconds,
        compared=requests // 10,
        compared_bins=seconds,
        bad=(requests // 20,) * signals,
        squares=(round(requests / 390, 3),) * signals,
        blocks=max(1, seconds // 10),
        compared_blocks=max(1, seconds // 10),
        block_squares=(round(requests / 390, 3),) * signals,
    )


def _segment(place: int, signals: int) -> Segment:
    counts = (10_000_000 + place,) * signals
    return Segment(
        share=f"{place}:100/100",
        stable_requests=200_000_000,
        candidate_requests=200_000_000,
        stable_bad=counts,
        candidate_bad=counts,
    )


def _baseline(place: int, signals: int) -> Baseline:
    week = 1_209_600_000 + place
    return Baseline(
        instance=f"{place:016x}",
        until=1_767_225_600,
        requests=week,
        bins=604_800,
        compared=week // 10,
        compared_bins=604_800,
        bad=(week // 20,) * signals,
        squares=(round(week / 390, 3),) * signals,
        synthetic=(604_800, 604_800),
    )
