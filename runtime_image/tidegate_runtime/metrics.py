"""The counts as Prometheus reads them: text, `tidegate_` in front, the model and its version on every line.

Families called `tidegate_evidence_…` are the raw counters of /internal/evidence, for rollouts that read them by way of
Prometheus (`analysis.source: Prometheus`): of one process, all of the same whole seconds, pinned requests left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tidegate_runtime.batching import Batching
from tidegate_runtime.counters import EDGES, Counters, Scale, Spread, Totals
from tidegate_runtime.divergence import TOP1, Divergence

if TYPE_CHECKING:
    from tidegate_runtime.gpu.nvml import Gpu

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COARSE = 14  # every 14th edge of the fine histogram: buckets that double
LENGTHS = ("1", "10")  # of the evidence's bins, in seconds
Labels = Mapping[str, str]
Values = list[tuple[Labels, float]]
Family = tuple[str, str, str, Values]  # name, type, help


@dataclass(frozen=True, slots=True)
class Now:
    """What is true at this moment and no counter: who serves, and what is under way."""

    labels: Labels  # model, version, revision
    ready: bool
    in_flight: int
    queued: int
    connections: int
    unread: int
    golden_worst: Mapping[str, float]
    shadow_dropped: int
    batching: Batching | None  # None: not decided yet
    further: Iterable[Family] = ()  # of parts that are not always there
    traces: tuple[int, int] | None = None  # sent and dropped; None: nobody traces
    explained: Mapping[str, int] = field(default_factory=dict)  # by status
    explain_seconds: Spread | None = None  # None: nothing is explained
    gpu: Gpu | None = None  # None: no GPU, or its driver does not tell
    work: Mapping[str, int] = field(default_factory=dict)  # on a GPU: operators by execution provider
    processes: int = 1
    restarts: int = 0


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
        (
            "connections_unread",
            "Connections whose request waits unread for room in the queue, and calls of gRPC that do.",
            now.unread,
        ),
        ("processes", "Processes that answer (--workers).", now.processes),
        ("start_time_seconds", "When this process started (Unix time).", counters.clock.start),
    ):
        yield from _family(name, "gauge", help_text, [(now.labels, value)])
    yield from _family(
        "clients_left_total", "counter", "Clients gone before their answer.", [(now.labels, counters.gone)]
    )
    restarts: list[tuple[Labels, float]] = [(now.labels, now.restarts)]
    yield from _family("process_restarts_total", "counter", "Processes started again after their death.", restarts)
    worst = [({**now.labels, "output": output}, value) for output, value in now.golden_worst.items()]
    yield from _family("golden_worst_error", "gauge", "Worst difference from the golden samples.", worst)
    yield from _batching(now)
    for name, kind, help_text, samples in now.further:
        yield from _family(name, kind, help_text, [({**now.labels, **own}, value) for own, value in samples])
    yield from _traces(now)
    yield from _explained(now)
    yield from _gpu(now)
    yield from _divergence(counters, now)
    yield from _evidence(counters, now)


def _batching(now: Now) -> Iterator[str]:
    found = now.batching
    decided = [({**now.labels, "reason": found.code}, int(found.rows > 1))] if found else []
    yield from _family("batching", "gauge", "1 when requests share runs; the reason says why, or why not.", decided)


def _traces(now: Now) -> Iterator[str]:
    if now.traces is None:
        return
    sent, dropped = now.traces
    yield from _family("traces_sent_total", "counter", "Traced requests whose spans were sent.", [(now.labels, sent)])
    lost = "Traced requests whose spans were lost: too many, or the collector did not take them."
    yield from _family("traces_dropped_total", "counter", lost, [(now.labels, dropped)])


def _explained(now: Now) -> Iterator[str]:
    if now.explain_seconds is None:
        return
    samples: Values = [({**now.labels, "code": code}, count) for code, count in now.explained.items()]
    yield from _family("explain_requests_total", "counter", "Explanations asked for, by status code.", samples)
    took = "From the request for an explanation to its answer, of those that were made."
    yield from _spread("explain_duration_seconds", took, now.explain_seconds, now.labels)


def _gpu(now: Now) -> Iterator[str]:
    """Only on a GPU, and of it only what it tells."""
    work = [({**now.labels, "provider": name}, count) for name, count in now.work.items()]
    if work:
        yield from _family("device_operators", "gauge", "Operators of one run, by execution provider.", work)
    if now.gpu is None or (seen := now.gpu.read()) is None:
        return
    labels = {**now.labels, "gpu": now.gpu.uuid, "name": now.gpu.name}
    for name, kind, help_text, value in (
        ("gpu_memory_used_bytes", "gauge", "Memory of the GPU in use, by all its processes.", seen.memory_used),
        ("gpu_memory_bytes", "gauge", "Memory of the GPU.", seen.memory_total),
        ("gpu_utilization", "gauge", "Share of the time that a kernel ran.", seen.utilization),
        ("gpu_ecc_errors_total", "counter", "Memory checks failed beyond repair.", seen.ecc_errors),
    ):
        if value is not None:
            yield from _family(name, kind, help_text, [(labels, value)])


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


# The evidence.  Numbers are exact, and what does not depend on traffic is always there: if it is missing, it was lost.

EVIDENCE: Mapping[str, tuple[str, str]] = {
    "start_time_seconds": ("gauge", "When this process started (Unix time)."),
    "until_seconds": ("gauge", "Seconds before this one are counted (Unix time)."),
    "events_total": ("counter", "Requests, golden samples or comparisons that are evidence."),
    "bins_total": ("counter", "Bins of one and of ten seconds with at least one of them."),
    "bad_total": ("counter", "Bad ones, by check."),
    "bad_squares_total": ("counter", "Sum of bad²/events over those bins, by check: how bad ones clump."),
    "apart_total": ("counter", "What is no evidence and is told beside it."),
    "latency_total": ("counter", "Requests by bucket of duration (0.0001 s times 1.05 to the power of `edge`)."),
    "slower_squares_total": ("counter", "Sum of slower²/events over bins, for `edge` and those up to the next."),
}
Rows = dict[str, list[tuple[Labels, float]]]


def _evidence(counters: Counters, now: Now) -> Iterator[str]:
    until = counters.until()
    requests, synthetic = (counters.lanes[kind].read(until) for kind in ("requests", "synthetic"))
    apart = {"clientErrors": counters.client_errors, "throttled": counters.throttled, "dropped": now.shadow_dropped}
    rows: Rows = {name: [] for name in EVIDENCE}
    rows["start_time_seconds"].append(({}, counters.clock.start))
    rows["until_seconds"].append(({}, until))
    rows["apart_total"] += [({"what": what}, count) for what, count in apart.items()]
    _add_lane(rows, "requests", requests)
    _add_lane(rows, "synthetic", synthetic)
    _add_compared(rows, counters.divergence.read(until))
    _add_latency(rows, requests)
    common = {**now.labels, "process": counters.instance}
    for name, (kind, help_text) in EVIDENCE.items():
        yield from _head(f"evidence_{name}", kind, help_text)
        yield from (f"tidegate_evidence_{name}{{{_inside({**common, **own})}}} {value!r}" for own, value in rows[name])


def _add_lane(rows: Rows, of: str, totals: Totals) -> None:
    squares = (totals.ones.error_squares, totals.tens.error_squares)
    _add_counts(rows, of, totals.n, (totals.ones.bins, totals.tens.bins))
    _add_bad(rows, {"of": of, "check": "errors"}, totals.errors, squares)


def _add_compared(rows: Rows, found: Divergence) -> None:
    _add_counts(rows, "compared", found.total.n, (found.ones.bins, found.tens.bins))
    for rule, k in ({TOP1: 0} | found.total.differing).items():
        squares = (found.ones.squares.get(rule, 0.0), found.tens.squares.get(rule, 0.0))
        _add_bad(rows, {"of": "compared", "check": f"output/{rule}" if rule else "top1"}, k, squares)


def _add_counts(rows: Rows, of: str, n: int, bins: tuple[int, int]) -> None:
    rows["events_total"].append(({"of": of}, n))
    rows["bins_total"] += [({"of": of, "seconds": s}, count) for s, count in zip(LENGTHS, bins, strict=True)]


def _add_bad(rows: Rows, labels: Labels, k: int, squares: tuple[float, float]) -> None:
    rows["bad_total"].append((labels, k))
    rows["bad_squares_total"] += [({**labels, "seconds": s}, v) for s, v in zip(LENGTHS, squares, strict=True)]


def _add_latency(rows: Rows, totals: Totals) -> None:
    """Only buckets that were hit: between them the sums of squares stay the same, and nobody hits all 275."""
    rows["latency_total"] += [({"edge": str(i)}, count) for i, count in enumerate(totals.counts.tolist()) if count]
    for seconds, scale in zip(LENGTHS, (totals.ones, totals.tens), strict=True):
        rows["slower_squares_total"] += [({"edge": str(i), "seconds": seconds}, v) for i, v in _changes(scale)]


def _changes(scale: Scale) -> Iterator[tuple[int, float]]:
    before = -1.0
    for edge, value in enumerate(scale.squares.tolist()):
        if value != before:
            yield edge, value
        before = value


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
    inside = _inside(labels)
    return (
        f"tidegate_{name}{{{inside}}} {value:.10g}"
        if isinstance(value, float)
        else f"tidegate_{name}{{{inside}}} {value}"
    )


def _inside(labels: Labels) -> str:
    return ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
