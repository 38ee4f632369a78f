"""Counts from the servers' own counters: what each reading adds to what is remembered.

Servers count from their start and never forget; a rollout wants what happened since the last reading.  So each
server process has a baseline, a reading adds the difference, and a process that started anew counts from nothing.
A process's first `warmup` is left out, a server that did not answer is missing evidence and never a zero, and
requests pinned to a version or sent by ourselves enter no test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegate.api.evidence import (
    Baseline,
    Block,
    Evidence,
    Interval,
    StepRequests,
    Synthetic,
    Tally,
)
from tidegate.api.rollout import Analysis
from tidegate.plan.baselines import Rise, absent, baseline_of, start_of, watched
from tidegate.plan.intervals import both, closed, combined, with_segment
from tidegate.plan.samples import EDGES, PodSample, Traffic, latency_quantile, latency_quantiles, parse_sample
from tidegate.plan.signals import INCREASE, counters_of, edge_above, edges_of, signals_of

__all__ = [
    "EDGES", "PodSample", "Reading", "Start", "Traffic", "accumulate", "begin", "fits", "latency_quantile",
    "latency_quantiles",
    "parse_sample", "share_observed", "watch",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the servers: what they said, and what was true since the look before.

    `share` names what makes the two versions comparable (weights and ready servers) and `step` the step of the
    rollout, both as they were since the last reading.  Servers that did not answer are simply not in `samples`.
    """

    samples: Sequence[PodSample]
    share: str
    step: int
    interval: timedelta
    warmup: timedelta
    now: datetime


@dataclass(frozen=True, slots=True)
class Start:
    """Where counting begins: the two versions and their servers' counters."""

    stable_revision: str
    candidate_revision: str
    samples: Sequence[PodSample]
    now: datetime


def begin(analysis: Analysis, start: Start) -> Evidence:
    """Empty evidence at the start of a rollout, with the latency limits fixed from what the stable version did."""
    stable = [sample for sample in start.samples if sample.revision == start.stable_revision]
    signals = signals_of(analysis, stable)
    empty = Evidence(
        started_at=start.now,
        interval_started_at=start.now,
        stable_revision=start.stable_revision,
        candidate_revision=start.candidate_revision,
        signals=tuple(s.name for s in signals),
        limits=tuple(s.limit for s in signals if s.limit),
        ceilings=tuple(s.ceiling for s in signals),
        ratios=tuple(s.ratio for s in signals),
        exceeded=(0,) * len(signals),
        increased=(0,) * len(signals),
        block=Block(started_at=start.now),
    )
    edges = edges_of(empty)
    before = Tally()
    for sample in stable:
        before = combined(before, counters_of(sample, empty, edges))
    first = tuple(baseline_of(sample, empty, edges, analysis.warmup) for sample in watched(empty, start.samples))
    return empty.model_copy(update={"before": before, "baselines": first})


def fits(evidence: Evidence, analysis: Analysis) -> bool:
    """Whether `evidence` counts what `analysis` asks about; after an edit of the limits it must begin again."""
    asked = signals_of(analysis, ())
    absolute = {s.limit for s in asked if s.limit and s.ceiling}
    increases = analysis.max_latency_increase.written() if analysis.max_latency_increase else {}
    return (
        evidence.signals == tuple(s.name for s in asked)
        and evidence.ceilings == tuple(s.ceiling for s in asked)
        and evidence.ratios == tuple(s.ratio for s in asked)
        and absolute <= set(evidence.limits)
        and all(
            limit.seconds == edge_above(limit.stable_seconds * (1 + increases[limit.signal.removeprefix(INCREASE)]))
            for limit in evidence.limits
            if limit.stable_seconds
        )
    )


def watch(evidence: Evidence, now: datetime) -> Evidence:
    """Evidence to go on with after the promotion: what the stable version did is now the record to be held to."""
    return evidence.model_copy(
        update={
            "started_at": now,
            "interval_started_at": now,
            "before": combined(combined(evidence.before, evidence.stable), evidence.open.stable),
            "stable": Tally(),
            "candidate": Tally(),
            "recent": (),
            "open": Interval(),
            "block": Block(started_at=now),
            "segments": (),
            "intervals": 0,
            "exceeded": (0,) * len(evidence.signals),
            "increased": (0,) * len(evidence.signals),
        }
    )


def share_observed(evidence: Evidence) -> tuple[int, int]:
    """Unpinned requests (stable, candidate) since the share of the traffic last changed."""
    if not evidence.segments:
        return (0, 0)
    return (evidence.segments[-1].stable_requests, evidence.segments[-1].candidate_requests)


def accumulate(evidence: Evidence, reading: Reading) -> Evidence:
    """`evidence` with what the servers counted since the last reading; an interval that is over is closed."""
    edges = edges_of(evidence)
    known = {baseline.instance: baseline for baseline in evidence.baselines}
    stable, candidate = Rise(len(evidence.signals)), Rise(len(evidence.signals))
    baselines: dict[str, Baseline] = {}
    for sample in watched(evidence, reading.samples):
        new = baseline_of(sample, evidence, edges, reading.warmup)
        if start := start_of(known.get(sample.instance), new, evidence, sample.start_time):
            (stable if sample.revision == evidence.stable_revision else candidate).add(new, start)
        baselines[sample.instance] = new
    brought = Interval(stable=stable.tally(), candidate=candidate.tally())
    added = {
        "baselines": (*baselines.values(), *absent(evidence, baselines, reading.now)),
        "open": both(evidence.open, brought),
        "segments": with_segment(evidence.segments, reading.share, brought),
        "step": _step(evidence.step, reading.step, brought),
        "synthetic": _golden(evidence.synthetic, stable, candidate),
    }
    return closed(evidence.model_copy(update=added), reading.interval, reading.now)


def _golden(seen: Synthetic, stable: Rise, candidate: Rise) -> Synthetic:
    return Synthetic(
        stable_requests=seen.stable_requests + stable.golden,
        stable_bad=seen.stable_bad + stable.golden_bad,
        candidate_requests=seen.candidate_requests + candidate.golden,
        candidate_bad=seen.candidate_bad + candidate.golden_bad,
    )


def _step(seen: StepRequests, step: int, brought: Interval) -> StepRequests:
    if seen.step != step:
        seen = StepRequests(step=step)
    return seen.model_copy(
        update={
            "stable": seen.stable + brought.stable.requests,
            "candidate": seen.candidate + brought.candidate.requests,
        }
    )
