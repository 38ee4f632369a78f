"""What is counted: the kinds of bad events that a spec asks about, and where they stand in a server's counters.

Every built-in check is about a share of bad events among requests: a server's fault, an answer slower than a limit, an
answer that differs from the other version's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.api.evidence import Evidence, LatencyLimit, Tally
from tidegate.api.rollout import QUANTILES, Analysis
from tidegate.plan.samples import EDGES, Clumps, PodSample, latency_quantile

DIGITS = 3  # of sums of squares: differences of rounded sums add up without error
FEW = 10  # so many requests must be beyond a quantile before it is known
ERRORS, TOP1 = "errors", "top1"
LATENCY, INCREASE, OUTPUT = "latency/", "latencyIncrease/", "output/"
QUERY = "query/"  # no signal: nothing of it is counted


@dataclass(frozen=True, slots=True)
class Signal:
    """One kind of bad event, and what is accepted of it; 0 accepts anything."""

    name: str
    ceiling: float = 0.0
    ratio: float = 0.0
    limit: LatencyLimit | None = None


def signals_of(analysis: Analysis, stable: Sequence[PodSample]) -> list[Signal]:
    ratio = analysis.max_error_rate_increase
    found = [Signal(ERRORS, analysis.max_error_rate, ratio)]
    if analysis.max_latency:
        for quantile, longest in analysis.max_latency.written().items():
            name = LATENCY + quantile
            seconds = edge_above(longest.total_seconds())
            found.append(Signal(name, QUANTILES[quantile], 0.0, LatencyLimit(signal=name, seconds=seconds)))
    if analysis.max_latency_increase:
        for quantile, increase in analysis.max_latency_increase.written().items():
            found.append(Signal(INCREASE + quantile, 0.0, ratio, _increase(quantile, increase, stable)))
    if divergence := analysis.max_divergence:
        if divergence.top1_disagreement is not None:
            found.append(Signal(TOP1, divergence.top1_disagreement))
        found += [Signal(OUTPUT + output.name, output.max_share) for output in divergence.outputs]
    return found


def edge_above(seconds: float) -> float:
    return EDGES[min(bisect_left(EDGES, seconds * (1 - 1e-9)), len(EDGES) - 1)]


def _increase(quantile: str, increase: float, stable: Sequence[PodSample]) -> LatencyLimit:
    slower, requests = QUANTILES[quantile], sum(sample.requests.n for sample in stable)
    own = latency_quantile(stable, 1 - slower)
    if own is None or requests * slower < FEW:
        return LatencyLimit(signal=INCREASE + quantile, seconds=0)
    return LatencyLimit(signal=INCREASE + quantile, seconds=edge_above(own * (1 + increase)), stable_seconds=own)


def is_comparison(signal: str) -> bool:
    """Whether a signal is about compared answers, not about requests."""
    return signal == TOP1 or signal.startswith(OUTPUT)


def allowed_share(signal: str) -> float:
    """The share of bad events that a guard accepts whatever the stable version does: 1 % slower than a p99 limit."""
    return QUANTILES[signal.removeprefix(INCREASE)] if signal.startswith(INCREASE) else 0.0


def edges_of(evidence: Evidence) -> tuple[int | None, ...]:
    """By signal, the histogram's edge it counts from; None where it is no latency or its limit is not known."""
    at = {limit.signal: bisect_left(EDGES, limit.seconds * (1 - 1e-9)) for limit in evidence.limits if limit.seconds}
    return tuple(at.get(name) for name in evidence.signals)


def _clumps(sample: PodSample, name: str, edge: int | None) -> Clumps:
    if name == ERRORS:
        return sample.requests.errors
    if edge is not None:
        return sample.requests.slower_than(edge)
    if name == TOP1:
        return sample.divergence.top1
    return sample.divergence.outputs.get(name.removeprefix(OUTPUT), Clumps())


def clumps_of(sample: PodSample, evidence: Evidence, edges: Sequence[int | None]) -> list[Clumps]:
    """A server's bad events, by signal."""
    return [_clumps(sample, name, edge) for name, edge in zip(evidence.signals, edges, strict=True)]


def counters_of(sample: PodSample, evidence: Evidence, edges: Sequence[int | None]) -> Tally:
    """A server's counters in the form of the evidence; blocks are its own, of ten seconds."""
    clumps = clumps_of(sample, evidence, edges)
    return Tally(
        requests=sample.requests.n,
        bins=sample.requests.bins,
        compared=sample.divergence.n,
        compared_bins=sample.divergence.bins,
        bad=tuple(c.bad for c in clumps),
        squares=tuple(round(c.squares, DIGITS) for c in clumps),
        blocks=sample.requests.bins10,
        compared_blocks=sample.divergence.bins10,
        block_squares=tuple(round(c.squares10, DIGITS) for c in clumps),
    )
