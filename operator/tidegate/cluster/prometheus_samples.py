"""The servers' own counters, as Prometheus scraped them: the evidence of `analysis.source: Prometheus`.

Servers show the counters of /internal/evidence on /metrics too (`tidegate_evidence_…`), and nothing here computes with
them: the same numbers go to the same code as those that are read from the servers themselves.  `increase()` would not
do: it extrapolates and misses first increments.

Two servers are scraped at different moments.  If the candidate were read later than the stable version, an outage that
hits both would show in the candidate first and look like its own fault; so its counters are read as they were when the
stable version's servers were scraped last.  A server whose last scrape is a minute old is missing evidence.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.api.evidence import MAX_INSTANCES
from tidegate.cluster.prometheus_answer import Point
from tidegate.errors import Invalid
from tidegate.plan.samples import EDGES, VERSION, PodSample, parse_sample

OLDEST_SECONDS = 60.0
FAMILY = "tidegate_evidence_"
# What tells the series of one family apart, beside the process.
LABELS = ("of", "check", "seconds", "edge", "what")
Ask = Callable[[str, float | None], Awaitable[list[Point]]]  # PromQL, and when (None: now)
Key = tuple[str, ...]  # family and LABELS


@dataclass(frozen=True, slots=True)
class Pods:
    """A deployment's servers of these revisions, of which the first one is the stable one."""

    namespace: str
    name: str
    revisions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scraped:
    """A server process that was scraped lately."""

    process: str
    revision: str
    at: float
    started: float


async def read(ask: Ask, pods: Pods) -> tuple[PodSample, ...]:
    """The latest counters of every server that was scraped within a minute; of many the oldest, as ever the same."""
    if not pods.revisions:
        return ()
    chosen = _chosen(scraped(await ask(presence(pods), None)), pods)
    first, *others = chosen
    stable_seen = min((one.at for one in first), default=None)
    found = await asyncio.gather(
        _samples(ask, pods, first, None), _samples(ask, pods, [one for part in others for one in part], stable_seen)
    )
    return tuple(sample for part in found for sample in part)


def _chosen(servers: Sequence[Scraped], pods: Pods) -> list[list[Scraped]]:
    """By revision, as many as are remembered."""
    share = MAX_INSTANCES // len(pods.revisions)
    oldest = sorted(servers, key=lambda one: (one.started, one.process))
    return [[one for one in oldest if one.revision == revision][:share] for revision in pods.revisions]


async def _samples(ask: Ask, pods: Pods, servers: Sequence[Scraped], at: float | None) -> list[PodSample]:
    if not servers:
        return []
    revisions = {one.process: one.revision for one in servers}
    found: dict[str, dict[Key, float]] = {process: {} for process in revisions}
    for point in await ask(counters(pods, sorted(revisions)), at):
        if (process := point.labels.get("process", "")) in found:
            found[process][_key(point.labels)] = point.value
    samples = (sample_of(process, revisions[process], series) for process, series in found.items())
    return [sample for sample in samples if sample]


def _key(labels: Mapping[str, str]) -> Key:
    return (labels.get("__name__", "").removeprefix(FAMILY), *(labels.get(name, "") for name in LABELS))


# What is asked.  `max by` drops the labels of the scrape, and a second job that scrapes the same pod.


def presence(pods: Pods) -> str:
    """Who is there: for each process when it was scraped and when it started, told apart by the label `what`."""
    revisions = "|".join(re.escape(revision) for revision in pods.revisions)
    chosen = f"{{{_deployment(pods)},revision=~{json.dumps(revisions)}}}"
    at, started = f"timestamp({FAMILY}until_seconds{chosen})", f"{FAMILY}start_time_seconds{chosen}"
    by = "max by (process, revision)"
    return f'label_replace({by} ({at}),"what","at","","") or label_replace({by} ({started}),"what","started","","")'


def counters(pods: Pods, processes: Iterable[str]) -> str:
    """All evidence of these processes."""
    names = json.dumps("|".join(re.escape(process) for process in processes))
    series = f'{{__name__=~"{FAMILY}.+",{_deployment(pods)},process=~{names}}}'
    return f"max by (__name__, process, {', '.join(LABELS)}) ({series})"


def _deployment(pods: Pods) -> str:
    return f"namespace={json.dumps(pods.namespace)},model={json.dumps(pods.name)}"


# What is answered.


def scraped(points: Iterable[Point]) -> list[Scraped]:
    """The processes that were scraped within a minute before the answer."""
    at: dict[tuple[str, str], Point] = {}
    started: dict[tuple[str, str], float] = {}
    for point in points:
        if point.labels.get("what") == "at":
            at[_process(point)] = point
        else:
            started[_process(point)] = point.value
    return [
        Scraped(*who, seen.value, started[who])
        for who, seen in at.items()
        if who in started and seen.at - seen.value <= OLDEST_SECONDS
    ]


def _process(point: Point) -> tuple[str, str]:
    return point.labels.get("process", ""), point.labels.get("revision", "")


def sample_of(process: str, revision: str, series: Mapping[Key, float]) -> PodSample | None:
    """A server's counters; None when some of them are missing or make no sense together: half a reading is none."""
    try:
        sample = parse_sample(_document(process, revision, series))
    except (KeyError, ValueError, OverflowError, Invalid):
        return None
    return sample if sum(sample.requests.latency_counts) == sample.requests.n else None


def _document(process: str, revision: str, series: Mapping[Key, float]) -> dict[str, Any]:
    """The counters in the form of a server's own document; what is never evidence is not scraped and counts nothing."""
    histogram = {"edges": list(EDGES), "counts": _counts(series)}
    histogram |= {"squares": _squares(series, "1"), "squares10": _squares(series, "10")}
    outputs = {key[2] for key in series if key[0] == "bad_total" and key[2].startswith("output/")}
    return {
        "apiVersion": VERSION,
        "instance": process,
        "revision": revision,
        "startTime": series[_of("start_time_seconds")],
        "until": series[_of("until_seconds")],
        "requests": {**_lane(series, "requests"), "latency": histogram},
        "pinned": {"n": 0, "bins": 0, "bins10": 0, "errors": {"k": 0, "squares": 0, "squares10": 0}},
        "synthetic": _lane(series, "synthetic"),
        "divergence": {
            **_bins(series, "compared"),
            "top1": _clumps(series, "compared", "top1"),
            "outputs": {name.removeprefix("output/"): _clumps(series, "compared", name) for name in outputs},
            "dropped": _apart(series, "dropped"),
        },
        "clientErrors": _apart(series, "clientErrors"),
        "throttled": _apart(series, "throttled"),
        "inFlight": 0,
        "queued": 0,
    }


def _of(family: str, of: str = "", check: str = "", seconds: str = "", edge: str = "") -> Key:
    return (family, of, check, seconds, edge, "")


def _apart(series: Mapping[Key, float], what: str) -> float:
    return _whole(series["apart_total", "", "", "", "", what])


def _lane(series: Mapping[Key, float], of: str) -> dict[str, Any]:
    return {**_bins(series, of), "errors": _clumps(series, of, "errors")}


def _bins(series: Mapping[Key, float], of: str) -> dict[str, Any]:
    return {
        "n": _whole(series[_of("events_total", of)]),
        "bins": _whole(series[_of("bins_total", of, seconds="1")]),
        "bins10": _whole(series[_of("bins_total", of, seconds="10")]),
    }


def _clumps(series: Mapping[Key, float], of: str, check: str) -> dict[str, Any]:
    squares = {
        name: series[_of("bad_squares_total", of, check, seconds)]
        for name, seconds in (("squares", "1"), ("squares10", "10"))
    }
    return {"k": _whole(series[_of("bad_total", of, check)]), **squares}


def _whole(value: float) -> float:
    """A count as a count; what is none stays what it is and is refused."""
    return int(value) if value.is_integer() else value


def _counts(series: Mapping[Key, float]) -> list[float]:
    counts: list[float] = [0] * (len(EDGES) + 1)
    for key, value in series.items():
        if key[0] == "latency_total":
            counts[_edge(key, len(counts))] = _whole(value)
    return counts


def _squares(series: Mapping[Key, float], seconds: str) -> list[float]:
    """Sums of squares by edge; servers name the edges at which they change, the first one always."""
    told = {_edge(k, len(EDGES)): v for k, v in series.items() if k[0] == "slower_squares_total" and k[3] == seconds}
    squares, latest = [], told[0]
    for edge in range(len(EDGES)):
        latest = told.get(edge, latest)
        squares.append(latest)
    return squares


def _edge(key: Key, most: int) -> int:
    edge = int(key[4])
    if not 0 <= edge < most:
        raise ValueError
    return edge
