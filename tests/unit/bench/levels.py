"""Findings as a measurement leaves them."""

from __future__ import annotations

from tidegate.bench.record import Verdict
from tidegate.bench.run import Step
from tidegate.bench.sweep import Findings

LIMIT = 0.03


def level(rate: float, p99: float, verdict: Verdict, lag: float = 0.0001) -> Step:
    return Step(
        rate=rate, connections=64, seconds=5.0, requests=1000, failures={}, answered=rate, mean=min(p99, 9.0) / 3, p50=p99 / 4,
        p90=p99 / 2, p99=p99, p99_interval=(p99 * 0.9, p99 * 1.1), lag=lag, busy=0.2,
        server_cores=rate / 100, verdict=verdict,
    )  # fmt: skip


def findings(*, lag: float = 0.0001) -> Findings:
    """A knee at 70/s."""
    return Findings(
        limit=LIMIT,
        alone=level(0.0, 0.01, Verdict.UNDECIDED),
        peak=level(0.0, 0.6, Verdict.UNDECIDED),
        steps=[
            level(30.0, 0.012, Verdict.HOLDS),
            level(70.0, 0.028, Verdict.HOLDS),
            *[level(100.0, 2.0, Verdict.EXCEEDS, lag)] * 2,
            *[level(75.0, 0.04, Verdict.EXCEEDS, lag)] * 2,
        ],
        target=level(49.0, 0.015, Verdict.HOLDS),
        finished=True,
    )
