"""Counts from the servers' own counters: what each reading adds to what is remembered.

Servers count from their start and never forget; a rollout wants what happened since the last reading.  So each
server process has a baseline, a reading adds the difference, and a process that started anew counts from nothing.
A process's first `warmup` is left out, a server that did not answer is missing evidence and never a zero, and
requests pinned to a version or sent by ourselves enter no test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tidegate.api.evidence import Evidence
from tidegate.api.rollout import Analysis
from tidegate.errors import Invalid

# Edges of the servers' latency histograms in seconds; the same formula as in tidegate_runtime.counters.
EDGES: tuple[float, ...] = tuple(1e-4 * 1.05**i for i in range(274))


@dataclass(frozen=True, slots=True)
class Shares:
    """Bad events among `n`: how many, and how they clump (sum over seconds of bad²/n)."""

    bad: int
    squares: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests of one kind (unpinned, pinned or synthetic) that a server has answered since it started."""

    n: int
    bins: int
    errors: Shares
    latency_counts: tuple[int, ...]
    latency_squares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """Comparisons of the candidate's answers with the stable version's."""

    n: int
    bins: int
    top1: Shares
    outputs: Mapping[str, Shares]
    dropped: int


@dataclass(frozen=True, slots=True)
class PodSample:
    """One server's counters at one reading; they count from the start of its process."""

    instance: str
    revision: str
    start_time: float
    until: float
    requests: Traffic
    pinned: Traffic
    synthetic: Traffic
    divergence: Compared
    client_errors: int
    throttled: int
    in_flight: int
    queued: int


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


def parse_sample(document: Mapping[str, Any]) -> PodSample:
    """The counters in a server's evidence document; `Invalid` says which part makes no sense."""
    raise Invalid("the evidence document makes no sense", where=str(document.get("instance", "")))


@dataclass(frozen=True, slots=True)
class Start:
    """Where counting begins: the two versions, their servers' counters, and older ones of the stable version.

    `earlier` are counters read some minutes ago, where the runner has them: the stable version's rates before the
    rollout are then taken from that time on, and not from the start of its servers.
    """

    stable_revision: str
    candidate_revision: str
    samples: Sequence[PodSample]
    now: datetime
    earlier: Sequence[PodSample] = ()


def begin(analysis: Analysis, start: Start) -> Evidence:
    """Empty evidence at the start of a rollout, with the latency limits fixed from what the stable version did."""
    return Evidence(
        started_at=start.now,
        interval_started_at=start.now,
        stable_revision=start.stable_revision,
        candidate_revision=start.candidate_revision,
    )


def fits(evidence: Evidence, analysis: Analysis) -> bool:
    """Whether `evidence` counts what `analysis` asks about; after an edit of the limits it must begin again."""
    return True


def share_observed(evidence: Evidence) -> tuple[int, int]:
    """Unpinned requests (stable, candidate) since the share of the traffic last changed."""
    return (0, 0)


def latency_quantile(samples: Sequence[PodSample], quantile: float) -> float | None:
    """Seconds within which that share of the servers' requests ended, at the edge above; None without requests."""
    return None


def accumulate(evidence: Evidence, reading: Reading) -> Evidence:
    """`evidence` with what the servers counted since the last reading."""
    return evidence
