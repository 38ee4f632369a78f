"""The counts as Prometheus reads them: text, `tidegate_` in front, the model and its version on every line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tidegate_runtime.counters import EDGES, Counters, Spread, Totals
from tidegate_runtime.divergence import TOP1

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COARSE = 14  # every 14th edge of the fine histogram: buckets that double
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Now:
    """What is true at this moment and no counter: who serves, and what is under way."""

    labels: Labels  # model, version, revision
    ready: bool
    in_flight: int
    queued: int
    connections: int
    golden_worst: Mapping[str, float]
    shadow_dropped: int


def exposition(counters: Counters, now: Now) -> bytes:
    """The whole answer of /metrics."""
    return ("\n".join(_lines(counters, now)) + "\n").encode()


def _lines(counters: Counters, now: Now) -> Iterator[str]:
    yield from _requests(counters, now.labels)
    yield from _spread("queue_duration_seconds", "Wait for a run.", counters.queue_seconds, now.labels)
    yield from _spread("compute_duration_seconds", "Time in the model.", counters.compute_seconds, now.labels)
    yield from _spread("batch_rows", "Rows of one run.", counters.batch_rows, now.labels)
    yield from _spread("batch_requests", "Requests of one run.", counters.batch_requests, now.labels)
    for name, help_text, value in (
        ("ready", "1 when new requests are welcome.", int(now.ready)),
        ("requests_in_flight", "Requests accepted and not yet answered.", now.in_flight),
        ("requests_queued", "Requests that wait for a run.", now.queued),
        ("connections", "Open connections.", now.connections),
        ("start_time_seconds", "When this process started (Unix time).", counters.clock.start),
    ):
        yield from _family(name, "gauge", help_text, [(now.labels, value)])
    yield from _family(
        "clients_left_total", "counter", "Clients gone before their answer.", [(now.labels, counters.gone)]
    )
    worst = [({**now.labels, "output": output}, value) for output, value in now.golden_worst.items()]
    yield from _family("golden_worst_error", "gauge", "Worst difference from the golden samples.", worst)
    yield from _divergence(counters, now)


def _requests(counters: Counters, labels: Labels) -> Iterator[str]:
    codes = sorted(counters.codes.copy().items())
    samples = [({**labels, "code": str(code)}, count) for code, count in codes]
    yield from _family("requests_total", "counter", "Inference requests by status code.", samples)
    yield from _head("request_duration_seconds", "histogram", "Requests answered with 2xx or 5xx, from first to last.")
    for kind, lane in counters.lanes.items():
        totals = lane.read(counters.until() + 1)
        yield from _buckets("request_duration_seconds", {**labels, "traffic": kind}, _coarse(totals), totals.seconds)


def _divergence(counters: Counters, now: Now) -> Iterator[str]:
    found = counters.divergence.read(counters.until() + 1).total
    compared: list[tuple[Labels, float]] = [(now.labels, found.n)]
    yield from _family("compared_total", "counter", "Answers compared with the stable version's.", compared)
    rules = {TOP1: 0} | found.differing
    differing = [({**now.labels, "rule": f"output:{rule}" if rule else "top1"}, k) for rule, k in rules.items()]
    yield from _family("diverged_total", "counter", "Compared answers that differ, by rule.", differing)
    worst = [({**now.labels, "output": name}, value) for name, value in found.worst.items()]
    yield from _family("divergence_worst", "gauge", "Worst difference from the stable version's answers.", worst)
    dropped: list[tuple[Labels, float]] = [(now.labels, now.shadow_dropped)]
    yield from _family("shadow_dropped_total", "counter", "Sampled requests that were too many or too large.", dropped)


def _coarse(totals: Totals) -> list[tuple[str, int]]:
    """Cumulative counts at every 14th edge; the label is the edge itself, so nothing is attributed wrongly."""
    rising = totals.counts.cumsum()
    return [(f"{EDGES[i]:.4g}", int(rising[i])) for i in range(0, len(EDGES), COARSE)] + [("+Inf", totals.n)]


def _spread(name: str, help_text: str, spread: Spread, labels: Labels) -> Iterator[str]:
    counts, total = list(spread.counts), spread.sum
    rising = [sum(counts[: index + 1]) for index in range(len(counts))]
    ends = [f"{edge:g}" for edge in spread.edges] + ["+Inf"]
    yield from _head(name, "histogram", help_text)
    yield from _buckets(name, labels, list(zip(ends, rising, strict=True)), total)


def _buckets(name: str, labels: Labels, buckets: Iterable[tuple[str, int]], total: float) -> Iterator[str]:
    count = 0
    for end, count in buckets:
        yield _sample(f"{name}_bucket", {**labels, "le": end}, count)
    yield _sample(f"{name}_sum", labels, total)
    yield _sample(f"{name}_count", labels, count)


def _family(name: str, kind: str, help_text: str, samples: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    yield from _head(name, kind, help_text)
    for labels, value in samples:
        yield _sample(name, labels, value)


def _head(name: str, kind: str, help_text: str) -> Iterator[str]:
    yield f"# HELP tidegate_{name} {help_text}"
    yield f"# TYPE tidegate_{name} {kind}"


def _sample(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return (
        f"tidegate_{name}{{{inside}}} {value:.10g}"
        if isinstance(value, float)
        else f"tidegate_{name}{{{inside}}} {value}"
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
