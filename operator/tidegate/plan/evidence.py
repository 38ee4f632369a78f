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
    MAX_INSTANCES,
    MAX_REMEMBERED,
    Baseline,
    Block,
    Evidence,
    Interval,
    StepRequests,
    Synthetic,
    Tally,
)
from tidegate.api.rollout import Analysis
from tidegate.plan.intervals import both, closed, combined, with_segment
from tidegate.plan.samples import EDGES, PodSample, Traffic, latency_quantile, parse_sample
from tidegate.plan.signals import INCREASE, counters_of, edge_above, edges_of, signals_of

__all__ = [
    "EDGES", "PodSample", "Reading", "Start", "Traffic", "accumulate", "begin", "fits", "latency_quantile",
    "parse_sample", "share_observed", "watch",
]  # fmt: skip

FORGET_SECONDS = 600.0


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


def _fell(now: Baseline, before: Baseline) -> bool:
    return now.requests < before.requests or any(x < y for x, y in zip(now.bad, before.bad, strict=False))


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
    watched = _watched(empty, start.samples)
    first = tuple(_baseline(sample, counters_of(sample, empty, edges), analysis.warmup) for sample in watched)
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
    brought, synthetic = Interval(), evidence.synthetic
    baselines: dict[str, Baseline] = {}
    for sample in _watched(evidence, reading.samples):
        new = _baseline(sample, counters_of(sample, evidence, edges), reading.warmup)
        delta, golden = _since(known.get(sample.instance), new, evidence, sample.start_time)
        who = "stable" if sample.revision == evidence.stable_revision else "candidate"
        brought = brought.model_copy(update={who: combined(getattr(brought, who), delta)})
        synthetic = _golden(synthetic, golden, who)
        baselines[sample.instance] = new
    added = {
        "baselines": (*baselines.values(), *_absent(evidence, baselines, reading.now)),
        "open": both(evidence.open, brought),
        "segments": with_segment(evidence.segments, reading.share, brought),
        "step": _step(evidence.step, reading.step, brought),
        "synthetic": synthetic,
    }
    return closed(evidence.model_copy(update=added), reading.interval, reading.now)


def _watched(evidence: Evidence, samples: Sequence[PodSample]) -> list[PodSample]:
    """The servers that are counted: all of both versions, or a sample that stays the same while they live."""
    room = _room(evidence)
    known = {baseline.instance for baseline in evidence.baselines}
    ordered = sorted(samples, key=lambda sample: (sample.instance not in known, sample.instance))
    stable = [sample for sample in ordered if sample.revision == evidence.stable_revision]
    candidate = [sample for sample in ordered if sample.revision == evidence.candidate_revision]
    candidate = candidate[: max(room // 2, room - len(stable))]
    return stable[: room - len(candidate)] + candidate


def _room(evidence: Evidence) -> int:
    return min(MAX_INSTANCES, MAX_REMEMBERED // len(evidence.signals))


def _absent(evidence: Evidence, present: dict[str, Baseline], now: datetime) -> list[Baseline]:
    """Servers that did not answer: their counts since the last reading come when they do."""
    since = now.timestamp() - FORGET_SECONDS
    absent = [b for b in evidence.baselines if b.instance not in present and b.until >= since]
    return absent[: _room(evidence) - len(present)]


def _baseline(sample: PodSample, counted: Tally, warmup: timedelta) -> Baseline:
    return Baseline(
        instance=sample.instance,
        until=sample.until,
        warm=sample.until >= sample.start_time + warmup.total_seconds(),
        requests=counted.requests,
        bins=counted.bins,
        compared=counted.compared,
        compared_bins=counted.compared_bins,
        bad=counted.bad,
        squares=counted.squares,
        synthetic=(sample.synthetic.n, sample.synthetic.errors.bad),
    )


def _since(old: Baseline | None, new: Baseline, evidence: Evidence, started: float) -> tuple[Tally, tuple[int, int]]:
    """What one server counted since its baseline, and its golden samples; nothing before its warm-up is over."""
    if old is None and new.warm and started >= evidence.started_at.timestamp():
        old = Baseline(instance=new.instance, until=started)  # it has no warm-up: all of it counts
    if old is None or not old.warm:
        return Tally(), (0, 0)
    if _fell(new, old) or new.synthetic[0] < old.synthetic[0]:
        return _tally(new), new.synthetic
    golden = (new.synthetic[0] - old.synthetic[0], max(0, new.synthetic[1] - old.synthetic[1]))
    return combined(_tally(new), _tally(old), -1), golden


def _tally(baseline: Baseline) -> Tally:
    return Tally(
        requests=baseline.requests,
        bins=baseline.bins,
        compared=baseline.compared,
        compared_bins=baseline.compared_bins,
        bad=baseline.bad,
        squares=baseline.squares,
    )


def _golden(seen: Synthetic, new: tuple[int, int], who: str) -> Synthetic:
    if not new[0]:
        return seen
    answered, bad = f"{who}_requests", f"{who}_bad"
    return seen.model_copy(
        update={answered: getattr(seen, answered) + new[0], bad: getattr(seen, bad) + new[1]},
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
