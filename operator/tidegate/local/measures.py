"""Plain figures for the timeline and the table: what each version answered, how fast and how often wrong.

For people only; decisions are made from the evidence in the status (`plan/analysis.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from tidegate.plan.samples import EDGES, PodSample

MILLISECONDS = 1000.0


@dataclass(slots=True)
class Version:
    """What one version has answered in this and earlier lives of the run."""

    requests: int = 0
    errors: int = 0
    compared: int = 0
    differing: int = 0
    recent: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * (len(EDGES) + 1))
    rates: dict[str, float | None] = field(default_factory=lambda: {"rps": 0.0, "p50Ms": None, "p99Ms": None})

    def add(self, sample: PodSample, before: PodSample | None) -> None:
        """Count what a server has answered since it was last read."""
        requests = sample.requests.n - (before.requests.n if before else 0)
        self.requests += requests
        self.recent += requests
        self.errors += sample.requests.errors.bad - (before.requests.errors.bad if before else 0)
        self.compared += sample.divergence.n - (before.divergence.n if before else 0)
        self.differing += worst(sample) - (worst(before) if before else 0)
        earlier = (before.requests.latency_counts if before else ()) or (0,) * len(self.latency)
        for i, (now, then) in enumerate(zip(sample.requests.latency_counts, earlier, strict=False)):
            self.latency[i] += now - then

    def close(self, seconds: float) -> None:
        """An interval of that length is over: its rates stand until the next one is."""
        self.rates = {
            "rps": round(self.recent / seconds, 2),
            "p50Ms": quantile(self.latency, 0.5),
            "p99Ms": quantile(self.latency, 0.99),
        }
        self.recent = 0
        self.latency = [0] * len(self.latency)

    def figures(self) -> dict[str, Any]:
        divergence = self.differing / self.compared if self.compared else None
        return {"requests": self.requests, "errors": self.errors, "divergence": divergence, **self.rates}


def worst(sample: PodSample) -> int:
    """Differing answers by the rule that most of them break."""
    return max([sample.divergence.top1.bad, *(shares.bad for shares in sample.divergence.outputs.values())])


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Milliseconds within which that share was answered, at the upper edge of its bucket."""
    total = sum(counts)
    if not total:
        return None
    bucket = next(i for i, seen in enumerate(accumulate(counts)) if seen >= share * total)
    return round(EDGES[min(bucket, len(EDGES) - 1)] * MILLISECONDS, 3)


class Meter:
    """The figures of all versions of a deployment, from their servers' counters."""

    def __init__(self, earlier: Mapping[str, Any]) -> None:
        """`earlier` are the versions of the last row of the timeline: totals go on after a restart of the runner."""
        self._versions = {
            revision: Version(requests=int(row.get("requests") or 0), errors=int(row.get("errors") or 0))
            for revision, row in earlier.items()
        }
        self._last: dict[str, PodSample] = {}

    def observe(self, samples: Iterable[PodSample]) -> None:
        for sample in samples:
            self._versions.setdefault(sample.revision, Version()).add(sample, self._last.get(sample.instance))
            self._last[sample.instance] = sample

    def keep(self, revisions: Iterable[str]) -> None:
        """Forget other versions, and servers that belonged to them."""
        self._versions = {revision: self._versions.get(revision) or Version() for revision in revisions}
        self._last = {name: sample for name, sample in self._last.items() if sample.revision in self._versions}

    def close(self, seconds: float) -> None:
        for version in self._versions.values():
            version.close(seconds)

    def figures(self) -> dict[str, dict[str, Any]]:
        return {revision: version.figures() for revision, version in self._versions.items()}
