"""What a server says of itself: its counters since its process started, read with suspicion.

The document comes over the network from a process that may be broken, of another version, or not ours; whatever makes
no sense is refused as a whole, because half a reading would be counted as a fall of traffic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, cast

from tidegate.errors import Invalid

# Edges of the servers' latency histograms in seconds; the same formula as in tidegate_runtime.counters.
EDGES: tuple[float, ...] = tuple(1e-4 * 1.05**i for i in range(274))
VERSION = "tidegate.io/evidence/v1"
MAX_OUTPUTS = 256
MAX_TEXT = 64


@dataclass(frozen=True, slots=True)
class Clumps:
    """Bad events and how they clump: sums of bad²/n over seconds, and over blocks of ten seconds."""

    bad: int = 0
    squares: float = 0.0
    squares10: float = 0.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests of one kind (unpinned, pinned or synthetic) that a server has answered since it started."""

    n: int = 0
    bins: int = 0  # seconds with at least one
    bins10: int = 0  # blocks of ten seconds with at least one
    errors: Clumps = Clumps()
    latency_counts: tuple[int, ...] = ()  # by bucket; the last is beyond the last edge
    latency_squares: tuple[float, ...] = ()  # of "slower than the edge"
    latency_squares10: tuple[float, ...] = ()

    def slower_than(self, edge: int) -> Clumps:
        """Requests slower than EDGES[edge]."""
        if not self.latency_counts:
            return Clumps()
        return Clumps(sum(self.latency_counts[edge + 1 :]), self.latency_squares[edge], self.latency_squares10[edge])


@dataclass(frozen=True, slots=True)
class Compared:
    """Comparisons of the candidate's answers with the stable version's."""

    n: int
    bins: int
    bins10: int
    top1: Clumps
    outputs: Mapping[str, Clumps]
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


def latency_quantile(samples: Sequence[PodSample], quantile: float) -> float | None:
    """Seconds within which that share of the servers' requests ended, at the edge above; None without requests."""
    return latency_quantiles(samples, (quantile,))[0]


def latency_quantiles(samples: Sequence[PodSample], quantiles: Sequence[float]) -> list[float | None]:
    """`latency_quantile` for several quantiles; the servers' histograms are added up once."""
    counts = list(map(sum, zip(*(s.requests.latency_counts for s in samples), strict=False)))
    total = sum(counts)
    return [_edge_within(counts, total, quantile) if total else None for quantile in quantiles]


def _edge_within(counts: Sequence[int], total: int, quantile: float) -> float:
    left, slower = total, (1 - quantile) * total + 1e-9
    for edge, count in zip(EDGES, counts, strict=False):
        left -= count
        if left <= slower:
            return edge
    return EDGES[-1]


class _Reader:
    """Takes a document apart; every value is what it must be, or the whole document is refused."""

    __slots__ = ("where",)

    def __init__(self, where: str) -> None:
        self.where = where

    def refuse(self, name: str) -> Invalid:
        return Invalid(f"`{name}` of a server's evidence makes no sense", where=self.where)

    def part(self, document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        value = document.get(name)
        if not isinstance(value, Mapping):
            raise self.refuse(name)
        return value

    def count(self, document: Mapping[str, Any], name: str) -> int:
        return self.counts([document.get(name)], name)[0]

    def counts(self, values: object, name: str, length: int = 1) -> tuple[int, ...]:
        if not isinstance(values, list | tuple) or len(values) != length:
            raise self.refuse(name)
        if not all(type(value) is int and value >= 0 for value in values):
            raise self.refuse(name)
        return tuple(values)

    def amount(self, document: Mapping[str, Any], name: str) -> float:
        return self.amounts([document.get(name)], name)[0]

    def amounts(self, values: object, name: str, length: int = 1) -> tuple[float, ...]:
        if not isinstance(values, list | tuple) or len(values) != length:
            raise self.refuse(name)
        if not all(type(value) in (int, float) and isfinite(value) and value >= 0 for value in values):
            raise self.refuse(name)
        return cast(tuple[float, ...], tuple(values))

    def text(self, document: Mapping[str, Any], name: str) -> str:
        value = document.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT:
            raise self.refuse(name)
        return value

    def clumps(self, document: Mapping[str, Any], name: str, n: int) -> Clumps:
        part = self.part(document, name)
        found = Clumps(self.count(part, "k"), self.amount(part, "squares"), self.amount(part, "squares10"))
        if found.bad > n:
            raise self.refuse(name)
        return found

    def traffic(self, document: Mapping[str, Any], name: str, *, latency: bool) -> Traffic:
        part = self.part(document, name)
        n, bins, bins10 = (self.count(part, key) for key in ("n", "bins", "bins10"))
        errors = self.clumps(part, "errors", n)
        if not latency:
            return Traffic(n, bins, bins10, errors)
        histogram = self.part(part, "latency")
        edges = self.amounts(histogram.get("edges"), "edges", len(EDGES))
        if abs(edges[0] - EDGES[0]) > 1e-9 or abs(edges[-1] - EDGES[-1]) > 1e-3:  # noqa: PLR2004 - rounding only
            raise self.refuse("edges")
        return Traffic(
            n,
            bins,
            bins10,
            errors,
            self.counts(histogram.get("counts"), "counts", len(EDGES) + 1),
            self.amounts(histogram.get("squares"), "squares", len(EDGES)),
            self.amounts(histogram.get("squares10"), "squares10", len(EDGES)),
        )

    def compared(self, document: Mapping[str, Any]) -> Compared:
        part = self.part(document, "divergence")
        n = self.count(part, "n")
        outputs = self.part(part, "outputs")
        if len(outputs) > MAX_OUTPUTS:
            raise self.refuse("outputs")
        return Compared(
            n=n,
            bins=self.count(part, "bins"),
            bins10=self.count(part, "bins10"),
            top1=self.clumps(part, "top1", n),
            outputs={str(name): self.clumps(outputs, name, n) for name in outputs},
            dropped=self.count(part, "dropped"),
        )


def parse_sample(document: object) -> PodSample:
    """The counters in a server's evidence document; `Invalid` says which part makes no sense."""
    if not isinstance(document, Mapping) or document.get("apiVersion") != VERSION:
        raise Invalid("a server's evidence is not of a version that is known here", do=f"expected {VERSION}")
    reader = _Reader(str(document.get("instance"))[:MAX_TEXT])
    return PodSample(
        instance=reader.text(document, "instance"),
        revision=reader.text(document, "revision"),
        start_time=reader.amount(document, "startTime"),
        until=reader.amount(document, "until"),
        requests=reader.traffic(document, "requests", latency=True),
        pinned=reader.traffic(document, "pinned", latency=False),
        synthetic=reader.traffic(document, "synthetic", latency=False),
        divergence=reader.compared(document),
        client_errors=reader.count(document, "clientErrors"),
        throttled=reader.count(document, "throttled"),
        in_flight=reader.count(document, "inFlight"),
        queued=reader.count(document, "queued"),
    )
