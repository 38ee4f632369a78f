"""What the operator is measured in: a cluster without machines, crowds of ModelDeployments, and the process itself.

Etcd, the API server, the controllers and the scheduler are real; kwok plays nodes and pods, and resolve Jobs are
answered without running them.  All of it shares the machine with the operator, and takes most of it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
from tests.cluster.operating import Operator, Site, condition, resolves
from tests.control_plane import programs
from tests.control_plane.audit import Mark, Request
from tests.control_plane.client import ApiError, Watch
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.control_plane.users import OPERATOR

PLURAL = "modeldeployments"
CREATORS = 4
LOOK_SECONDS = 0.05
QUIET_SECONDS = 65.0  # a status that is not worth a write of its own waits for a minute
ENDS: Object = {"propagationPolicy": "Background"}


def say(line: str) -> None:
    """Progress, apart from results."""
    print(line, file=sys.stderr, flush=True)


def load_average() -> float:
    return round(os.getloadavg()[0], 2)


def until(holds: Callable[[], Any], what: str, seconds: float) -> None:
    """Look again and again; RuntimeError when the time is up."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {seconds:g} s: {what}")
        select.select([], [], [], LOOK_SECONDS)


class Crowd:
    """Many ModelDeployments in a namespace of their own, and when the status of each said what."""

    def __init__(self, plane: Plane, count: int, **spec: Any) -> None:
        self.plane = plane
        self.namespace = plane.new_namespace("crowd")
        self.names = [f"m-{number:04}" for number in range(count)]
        self.ready: dict[str, float] = {}
        self.observed: dict[tuple[str, int], float] = {}
        self._spec = spec
        self._closed = False
        self._watch: Watch | None = None
        assert plane.player is not None
        plane.player.answer_jobs(self.namespace, resolves())
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def manifest(self, name: str, version: str = "v1") -> Object:
        """One pod, no autoscaler; a bundle that nobody reads."""
        site = Site(self.plane, self.namespace, name=name)
        spec = {"scaling": {"minReplicas": 1, "maxReplicas": 1}, **self._spec}
        return site.manifest(version, real=False, bundle={"uri": f"s3://models/{version}"}, **spec)

    def create(self) -> None:
        """All of them, as fast as a few clients can."""
        with ThreadPoolExecutor(CREATORS) as pool:
            list(pool.map(lambda name: self.plane.client.create(self.manifest(name)), self.names))

    def change(self, name: str, version: int) -> int:
        """A change of the spec that makes no new revision; the generation that it became."""
        spec = {"rollout": {"scaleDownDelay": f"{version}s"}}
        found = self.plane.client.patch(PLURAL, self.namespace, name, {"spec": spec})
        return int(found["metadata"]["generation"])

    def until_ready(self, seconds: float) -> float:
        """When the last of them became ready."""
        began = shown = time.monotonic()
        while len(self.ready) < len(self.names):
            now = time.monotonic()
            if now - began > seconds:
                raise RuntimeError(f"{len(self.ready)} of {len(self.names)} are ready after {seconds:g} s")
            if now - shown >= 10:
                shown = now
                say(f"  {now - began:5.0f} s: {len(self.ready)} of {len(self.names)} are ready")
            select.select([], [], [], LOOK_SECONDS)
        return max(self.ready.values())

    def close(self) -> None:
        self._closed = True
        if self._watch:
            self._watch.close()
        self._thread.join(10)

    def _follow(self) -> None:
        version = ""
        while not self._closed:
            with contextlib.suppress(ApiError, urllib3.exceptions.HTTPError):
                self._watch = self.plane.client.watch(PLURAL, self.namespace, version)
                for event in self._watch:
                    if event["type"] == "ERROR":  # too old to go on from: all is shown again
                        version = ""
                        break
                    version = str(event["object"]["metadata"]["resourceVersion"])
                    self._see(event["object"])

    def _see(self, found: Object) -> None:
        now, name = time.monotonic(), found["metadata"]["name"]
        if condition(found, "Ready") == "True":
            self.ready.setdefault(name, now)
        generation = (found.get("status") or {}).get("observedGeneration", 0)
        self.observed.setdefault((name, generation), now)


@dataclass
class Running:
    """An operator as a process, seen from outside."""

    operator: Operator
    began: float
    _port: int = 0

    @property
    def pid(self) -> int:
        assert self.operator.process is not None
        return self.operator.process.pid

    def figures(self) -> dict[str, float]:
        """What /metrics says, by name and labels."""
        self._port = self._port or self.operator.port()
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def turns(self) -> int:
        return round(sum(value for name, value in self.figures().items() if name.startswith("tidegate_reconciles_tot")))

    def until_leads(self, seconds: float = 120) -> None:
        self.operator.until(lambda: self.operator.said("everything is at hand"), "it leads", seconds)

    def until_standing_by(self) -> None:
        self.operator.until(self.operator.is_ready, "it stands by, and has seen everything", 60)

    def stop(self, number: int | None = None) -> None:
        self.operator.stop(*([number] if number else []))


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads so far, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def mebibytes(pid: int, name: str = "VmRSS") -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) / 1024


@dataclass
class Bench:
    """One run: the cluster, what is in it, and the operator that looks after it."""

    plane: Plane
    folder: Path
    crowds: list[Crowd] = field(default_factory=list)
    running: Running | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _processes: list[Operator] = field(default_factory=list)

    def start(self, *flags: str) -> Running:
        """One more process; it may have to stand by."""
        operator = Operator(self.plane, self.folder / f"operator-{next(self._numbers)}")
        self._processes.append(operator)
        began = time.monotonic()
        return Running(operator.start(*flags), began)

    def lead(self, *flags: str) -> Running:
        """The operator that works; started when none does."""
        if self.running is None:
            self.running = self.start(*flags)
            self.running.until_leads()
        return self.running

    def stop(self) -> None:
        if self.running:
            self.running.stop()
            self.running = None

    def start_anew(self) -> None:
        """No operator runs: the next part starts one."""
        for operator in self._processes:
            operator.close()
        self.running = None

    def crowd(self, count: int, **spec: Any) -> Crowd:
        made = Crowd(self.plane, count, **spec)
        self.crowds.append(made)
        return made

    def count(self) -> int:
        return sum(len(crowd.names) for crowd in self.crowds)

    def until_settled(self) -> None:
        """Nothing is left that time alone would do: Jobs have gone, the last figures are written."""
        for crowd in self.crowds:
            self.plane.client.request("DELETE", f"/apis/batch/v1/namespaces/{crowd.namespace}/jobs", ENDS)
        until(lambda: not self._pods_of_jobs(), "the Jobs' pods are gone", 300)
        say(f"  waiting until nothing was written for {QUIET_SECONDS:g} s")
        end = time.monotonic() + 600
        while not self._quiet():
            if time.monotonic() > end:
                raise RuntimeError("the operator writes on and on")

    def _pods_of_jobs(self) -> bool:
        pods = (self.plane.client.list("pods", crowd.namespace, "job-name") for crowd in self.crowds)
        return any(pods)

    def _quiet(self) -> bool:
        mark, end = self.plane.audit.mark(), time.monotonic() + QUIET_SECONDS
        while not self.requests(mark, writes=True):
            if time.monotonic() > end:
                return True
            select.select([], [], [], 1.0)
        return False

    def requests(self, mark: Mark, *, writes: bool) -> list[Request]:
        """What the operator asked since then, besides its lease and its events."""
        ask = self.plane.audit.writes if writes else self.plane.audit.reads
        return [one for one in ask(mark, user=OPERATOR.name) if one.resource not in ("leases", "events")]

    def events(self, mark: Mark) -> int:
        return len(self.plane.audit.writes(mark, user=OPERATOR.name, resource="events"))

    def programs(self) -> dict[str, float]:
        """CPU seconds of each part of the cluster so far, of the operator, and of what measures."""
        found = {program.name: cpu_seconds(self.plane.part(program).pid) for program in programs.ALL}
        found["benchmark"] = cpu_seconds(os.getpid())
        return found | ({"operator": cpu_seconds(self.running.pid)} if self.running else {})

    def close(self) -> None:
        self.start_anew()
        for crowd in self.crowds:
            crowd.close()


def by_kind(requests: list[Request], share: float = 1) -> dict[str, float]:
    """How many of each verb and resource, over `share`."""
    counts = Counter(f"{one.verb} {one.resource}" for one in requests)
    return {name: round(count / share, 2) for name, count in counts.most_common()}


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """CPU seconds between two readings, the largest first."""
    seconds = {name: round(value - before.get(name, 0.0), 1) for name, value in after.items()}
    return dict(sorted(seconds.items(), key=lambda pair: -pair[1]))
