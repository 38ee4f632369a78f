"""The API server goes away in every phase of a rollout: what serves goes on serving, and the rollout goes on by itself.

All phases are gone through at once, by a deployment each, for 15 s: long enough to lose the lease.
`TIDEGATE_OUTAGE=300 pytest tests/cluster/test_outages.py` is the long form; an outage of five minutes is also played on
the API server in memory (tests/perturb), where time costs nothing.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.clients import Asking
from tests.cluster.operating import Operator, Site, grant, resolves
from tests.cluster.outage import LOST_THE_LEASE, frozen, gone, kept_running
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.control_plane.simulation import MODE
from tests.control_plane.statuses import Ended
from tests.control_plane.users import OPERATOR
from tests.local.local_run import INPUT, bundles

OUTAGE = float(os.environ.get("TIDEGATE_OUTAGE", "15"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240 + 2 * OUTAGE)]
AT_ONCE: dict[str, Any] = {"steps": []}
TIMED = {"steps": [{"weight": 50, "hold": "12s"}]}
WARM: dict[str, Any] = {"steps": [], "scaleDownDelay": "12s"}
NEVER = {"pod": {"annotations": {MODE: "never-ready"}}}
log = logging.getLogger(__name__)  # shown by --log-cli-level=info
Outage = Callable[[Plane], AbstractContextManager[None]]


@pytest.fixture
def operator(control_plane: Plane, tmp_path: Path) -> Iterator[Operator]:
    grant(control_plane)
    running = Operator(control_plane, tmp_path / "operator").start().leads()
    yield running
    if running.runs:
        running.stop()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles(tmp_path_factory.mktemp("store"))


@pytest.fixture
def phases(control_plane: Plane, namespace: str, store: Path) -> Phases:
    return Phases(control_plane, namespace, store)


class Phases:
    """A deployment in each phase; `held` is the Job of the one whose bundle is being read."""

    def __init__(self, plane: Plane, namespace: str, store: Path) -> None:
        self.plane, self.namespace = plane, namespace
        self.held = threading.Event()
        self.sites = {name: Site(plane, namespace, name=name) for name in ENTER}
        self.sites["resting"].mount(store)
        assert plane.player
        plane.player.answer_jobs(namespace, self.answer)

    def answer(self, pod: Object) -> Ended | None:
        if pod["metadata"]["labels"]["serving.tidegate.io/deployment"] == "resolving":
            self.held.wait(120 + OUTAGE)
        return None

    def enter(self) -> None:
        for name, site in self.sites.items():
            if name != "resolving":
                site.apply("v1", rollout=AT_ONCE, real=name in REAL)
        for name, site in self.sites.items():
            if name != "resolving":
                site.until_serving("v1", 60)
        for name, begin in ENTER.items():
            begin(self.sites[name])
        for name, phase in PHASE.items():
            self.sites[name].until(lambda one: phase_of(one) == phase, 60)  # noqa: B023

    def servers(self) -> dict[str, set[str]]:
        return {name: {pod["metadata"]["uid"] for pod in site.servers()} for name, site in self.sites.items()}

    def addresses(self) -> dict[str, list[str]]:
        """Where real servers answer."""
        return {name: self.sites[name].endpoints() for name in ("holding", "resting")}

    def go_on(self) -> None:
        """What each waits for comes about."""
        self.held.set()
        for pod in self.sites["proving"].servers():
            self.plane.client.patch(
                "pods", self.namespace, pod["metadata"]["name"], {"metadata": {"annotations": {MODE: "ready"}}}
            )

    def until_over(self) -> None:
        """All have come where they wanted, by themselves."""
        for name, version in END.items():
            self.sites[name].until_serving(version, 90 + OUTAGE)
            self.sites[name].until(lambda one: phase_of(one) == "Serving", 90)


def phase_of(deployment: Object) -> str:
    return str((deployment.get("status") or {}).get("phase", ""))


REAL = {"holding", "resting", "resolving"}
PHASE = {
    "resolving": "Resolving",
    "proving": "Proving",
    "holding": "Holding",
    "watching": "Watching",
    "resting": "Serving",
}
END = {"resolving": "v1", "proving": "v2", "holding": "v2", "watching": "v2", "resting": "v1"}
ENTER: dict[str, Callable[[Site], object]] = {
    "resolving": lambda site: site.apply("v1"),
    "proving": lambda site: site.apply("v2", real=False, rollout=AT_ONCE, runtime=NEVER),
    "holding": lambda site: site.apply("v2", rollout=TIMED),
    "watching": lambda site: site.apply("v2", real=False, rollout=WARM),
    "resting": lambda site: site.get(),
}


class Caller(Asking):
    """Somebody who goes on asking servers at addresses that he knows."""

    def __init__(self, addresses: dict[str, list[str]]) -> None:
        super().__init__(pause=0.05)
        self.answers = 0
        self._addresses = addresses

    def _round(self) -> None:
        for name, addresses in self._addresses.items():
            for address in addresses:
                self._ask(f"http://{address}:8080/v2/models/{name}/infer")

    def _ask(self, url: str) -> None:
        request = urllib.request.Request(url, json.dumps(INPUT).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=5):
                self.answers += 1
        except OSError as error:
            self.failures.append(f"{url}: {error!r}")


@pytest.mark.parametrize(
    ("outage", "seconds", "ends"),
    [(frozen, OUTAGE, [LOST_THE_LEASE]), (gone, OUTAGE, [LOST_THE_LEASE]), (frozen, 4, [])],
    ids=["frozen", "gone", "frozen-for-a-moment"],
)
def test_an_outage_in_any_phase_touches_no_server_and_the_rollout_goes_on(
    operator: Operator, phases: Phases, outage: Outage, seconds: float, ends: list[int]
) -> None:
    phases.enter()
    before = phases.servers()

    with Caller(phases.addresses()) as caller, kept_running(operator) as codes:
        with outage(phases.plane):
            threading.Event().wait(seconds)  # nothing comes about in an outage but time
        answered, failures, after = caller.answers, list(caller.failures), phases.servers()
        phases.go_on()
        phases.until_over()

    assert codes == ends
    assert (failures, answered > 10) == ([], True)
    assert [name for name in PHASE if before[name] - after[name]] == []
    assert phases.servers()["resting"] == before["resting"]
    for site in phases.sites.values():
        assert {entry["outcome"] for entry in site.get()["status"]["history"]} == {"Promoted"}


def test_an_operator_that_is_told_to_end_while_nothing_answers_goes_within_ten_seconds(
    operator: Operator, control_plane: Plane, namespace: str
) -> None:
    assert control_plane.player and operator.process
    control_plane.player.answer_jobs(namespace, resolves())
    mark = control_plane.audit.mark()
    for number in range(20):
        Site(control_plane, namespace, name=f"model-{number}").simulate()
    operator.until(lambda: len(control_plane.audit.writes(mark, user=OPERATOR.name)) > 20, "it works")

    with frozen(control_plane):
        told = time.monotonic()
        operator.process.send_signal(signal.SIGTERM)
        code = operator.process.wait(timeout=30)
        passed = time.monotonic() - told

    log.info("end: %.2f s", passed)
    assert code == 0
    assert passed < 10
