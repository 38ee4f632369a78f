"""Servers that count as the real ones do, for tests of evidence: seconds pass when a test says so."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tidegate.api.evidence import Evidence
from tidegate.api.rollout import Analysis
from tidegate.plan.evidence import PodSample, Reading, Start, accumulate, begin
from tidegate.plan.samples import EDGES, VERSION, parse_sample

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Count:
    """One kind of bad event, in seconds and in blocks of ten."""

    k: int = 0
    squares: float = 0.0
    squares10: float = 0.0

    def second(self, n: int, k: int) -> None:
        self.k += k
        self.squares += k * k / n if n else 0.0

    def document(self) -> dict[str, Any]:
        return {"k": self.k, "squares": self.squares, "squares10": self.squares10}


@dataclass
class Server:
    """One server process; `started` is in seconds from START."""

    instance: str
    revision: str
    started: float = -3600.0
    lanes: dict[str, Any] = field(default_factory=dict)
    compared: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for lane in ("requests", "pinned", "synthetic"):
            counts = {"n": 0, "bins": 0, "bins10": 0, "errors": Count()}
            self.lanes[lane] = {**counts, "counts": [0] * (len(EDGES) + 1), "slower": [0.0] * len(EDGES)}
        self.compared = {"n": 0, "bins": 0, "bins10": 0, "top1": Count(), "outputs": {"scores": Count()}}

    def answers(self, n: int, bad: int = 0, seconds: int = 1, lane: str = "requests", slow: int = 0) -> Server:
        """`n` answers a second for so many seconds: most after 10 ms, `slow` of them after a second."""
        counted = self.lanes[lane]
        for _ in range(seconds):
            counted["n"] += n
            counted["bins"] += n > 0
            counted["errors"].second(n, bad)
            counted["counts"][bisect_left(EDGES, 0.01)] += n - slow
            counted["counts"][bisect_left(EDGES, 1.0)] += slow
            for edge in range(bisect_left(EDGES, 0.01), bisect_left(EDGES, 1.0)):
                counted["slower"][edge] += slow * slow / n if n else 0.0
        return self

    def compares(self, n: int, top1: int = 0, scores: int = 0, seconds: int = 1) -> Server:
        """So many comparisons a second, with differences."""
        for _ in range(seconds):
            self.compared["n"] += n
            self.compared["bins"] += 1
            self.compared["top1"].second(n, top1)
            self.compared["outputs"]["scores"].second(n, scores)
        return self

    def document(self, at: float) -> dict[str, Any]:
        """What the server says of itself, `at` seconds after START."""
        return {
            "apiVersion": VERSION,
            "instance": self.instance,
            "model": "fraud",
            "revision": self.revision,
            "startTime": START.timestamp() + self.started,
            "until": int(START.timestamp() + at),
            **{name: self._lane(name) for name in self.lanes},
            "clientErrors": 0,
            "throttled": 0,
            "inFlight": 0,
            "queued": 0,
            "divergence": {
                "n": self.compared["n"],
                "bins": self.compared["bins"],
                "bins10": self.compared["bins10"],
                "top1": self.compared["top1"].document(),
                "outputs": {name: count.document() for name, count in self.compared["outputs"].items()},
                "dropped": 0,
            },
        }

    def _lane(self, name: str) -> dict[str, Any]:
        counted = self.lanes[name]
        slower = list(counted["slower"])
        histogram = {"edges": list(EDGES), "counts": list(counted["counts"]), "squares": slower, "squares10": slower}
        counts = {key: counted[key] for key in ("n", "bins", "bins10")}
        return {**counts, "errors": counted["errors"].document(), "latency": histogram}

    def sample(self, at: float) -> PodSample:
        return parse_sample(self.document(at))


@dataclass
class Watch:
    """A rollout's evidence as readings come in."""

    analysis: Analysis
    evidence: Evidence
    at: float = 0.0

    def reads(self, *servers: Server, after: float = 10.0, share: str = "10:1/1", step: int = 1) -> Evidence:
        """One reading, `after` seconds later."""
        self.at += after
        samples = [server.sample(self.at) for server in servers]
        now = START + timedelta(seconds=self.at)
        interval, warmup = self.analysis.interval, self.analysis.warmup
        self.evidence = accumulate(self.evidence, Reading(samples, share, step, interval, warmup, now))
        return self.evidence


def analysis(**fields: Any) -> Analysis:
    """A spec as a user writes it; no warm-up unless told."""
    return Analysis.model_validate({"maxErrorRate": 0.01, "warmup": "0s", **fields})


def watch(asked: Analysis, *servers: Server) -> Watch:
    """Evidence that begins now, with the revisions `stable` and `candidate`."""
    samples = [server.sample(0) for server in servers]
    return Watch(asked, begin(asked, Start("stable", "candidate", samples, START)))
