"""A variant beside its parent: size, accuracy, latency; as data for the bundle, for scripts, and as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegate.author.optimize.quality import Estimate
from tidegate.author.optimize.timing import Latency


@dataclass(frozen=True, slots=True)
class Variant:
    """One row: `drop` is how much worse than the parent it is, `latencies` are by batch size."""

    name: str
    bytes: int
    quality: Estimate
    drop: Estimate
    latencies: tuple[Latency, ...]
    notes: tuple[str, ...] = ()
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The parent first, then the model after each step; `rows` of the data set `data` judged all of them."""

    metric: str
    rows: int
    data: str
    max_drop: float
    variants: tuple[Variant, ...]
    notes: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the last variant is good enough."""
        return self.variants[-1].drop.value <= self.max_drop + 1e-12

    @property
    def certain(self) -> bool:
        """Whether the rows are enough to say that no more than allowed is lost."""
        return self.variants[-1].drop.high <= self.max_drop

    def report(self) -> dict[str, Any]:
        """For the manifest: all but the latencies, which another run would measure otherwise."""
        return {
            "metric": self.metric,
            "rows": self.rows,
            "maxDrop": f"{self.max_drop:g}",
            "steps": [_row(variant) | dict(variant.report) for variant in self.variants],
        }

    def document(self) -> dict[str, Any]:
        """For scripts, with the latencies in microseconds."""
        return {
            "metric": self.metric,
            "rows": self.rows,
            "data": self.data,
            "maxDrop": self.max_drop,
            "variants": [_figures(variant) for variant in self.variants],
            "notes": list(self.notes),
        }

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows for a person."""
        sizes = [latency.rows for latency in self.variants[0].latencies]
        columns = ["variant", "size", self.metric, "95 % interval", "lost", "95 % interval"]
        for size in sizes:
            columns += [f"{size} row{'s' if size > 1 else ''}", "speed"]
        return columns, [self._cells(variant) for variant in self.variants]

    def _cells(self, variant: Variant) -> list[str]:
        is_parent = variant is self.variants[0]
        cells = [variant.name, _kilobytes(variant.bytes), f"{variant.quality.value:.4f}", _between(variant.quality)]
        cells += ["", ""] if is_parent else [f"{variant.drop.value:.4f}", _between(variant.drop)]
        for latency in variant.latencies:
            cells += [f"{latency.us:,.0f} µs", "1.00 x" if is_parent else f"{latency.speedup:.2f} x"]
        return cells


def _row(variant: Variant) -> dict[str, Any]:
    return {
        "name": variant.name,
        "bytes": variant.bytes,
        "value": f"{variant.quality.value:.4f}",
        "interval": _ends(variant.quality),
        "drop": f"{variant.drop.value:.4f}",
        "dropInterval": _ends(variant.drop),
    }


def _figures(variant: Variant) -> dict[str, Any]:
    return {
        "name": variant.name,
        "bytes": variant.bytes,
        "value": variant.quality.value,
        "interval": [variant.quality.low, variant.quality.high],
        "drop": variant.drop.value,
        "dropInterval": [variant.drop.low, variant.drop.high],
        "latencies": [
            {"rows": each.rows, "us": each.us, "interval": [each.low, each.high], "speedup": each.speedup}
            for each in variant.latencies
        ],
        "notes": list(variant.notes),
    }


def _ends(estimate: Estimate) -> list[str]:
    return [f"{estimate.low:.4f}", f"{estimate.high:.4f}"]


def _between(estimate: Estimate) -> str:
    return f"{estimate.low:.4f} - {estimate.high:.4f}"


def _kilobytes(count: int) -> str:
    return f"{count / 1024:,.0f} KiB" if count >= 10 * 1024 else f"{count / 1024:.1f} KiB"
