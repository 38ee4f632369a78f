"""Pods of mode `real`: the init step, then a server on the pod's own address, restarted as a kubelet restarts it.

The address is one of this machine's loopback network, so the server's usual ports are free there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from itertools import chain, repeat

import urllib3
from tests.control_plane import statuses
from tests.control_plane.mounts import Missing
from tests.control_plane.played import Around, Left, PlayedPod
from tests.control_plane.resources import Object
from tests.control_plane.statuses import Ended

BACKOFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)  # a kubelet's 10 s to 5 min, for tests
PROBE_SECONDS = 0.1
REFRESH_SECONDS = 1.0  # of volumes: a kubelet takes up to a minute
KILL_AFTER = 2.0


class ServerPod(PlayedPod):
    """A server, again and again, until the pod is deleted."""

    def __init__(self, around: Around, pod: Object, address: str) -> None:
        super().__init__(around, pod)
        self.address = address
        self.ready = False
        self._contradicted = False
        self._began = ""
        self._restarts = 0
        self._last: Ended | None = None
        self._next_probe = self._next_fill = 0.0
        self._probing = urllib3.HTTPConnectionPool(address, probe_port(self.main), timeout=1.0, retries=False)

    def play(self) -> None:
        try:
            self._appear()
            self._initialize()
            self._serve()
        except Left:
            self._depart()
        finally:
            self._probing.close()

    def seen(self, pod: Object) -> None:
        """After an outage the node's controller says that pods are not ready: a kubelet says again that they are."""
        conditions = pod["status"].get("conditions") or ()
        said = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
        self._contradicted = self.ready and not said

    def _appear(self) -> None:
        at = {"podIP": self.address, "podIPs": [{"ip": self.address}], "hostIP": self.around.node}
        self.pod["status"] |= at
        self.write(**at, hostIPs=[{"ip": self.around.node}], startTime=statuses.now())

    def _initialize(self) -> None:
        """The init containers, each until it succeeds."""
        for index, container in enumerate(self.first):
            last: Ended | None = None
            for restarts, pause in enumerate(backoff()):
                launch = self.launch(container, partial(self._show_first, index))
                self._show_first(index, statuses.running(statuses.now()), restarts, last)
                last = self.run(container, launch)
                if last.code == 0:
                    break
                self._show_first(index, statuses.waiting("CrashLoopBackOff", "back-off"), restarts + 1, last)
                self.wait(pause)

    def _serve(self) -> None:
        for pause in backoff():
            extra = serving_flags(self.main, self.address)
            launch = self.launch(self.main, self._show, extra)
            self._began = statuses.now()
            self._show(statuses.running(self._began))
            self._last = self.run(self.main, launch, self._look)
            self.ready = False
            self._restarts += 1
            self._show(statuses.waiting("CrashLoopBackOff", "back-off restarting failed container"))
            self.wait(pause)

    def _look(self) -> None:
        """Probe, and keep the volumes fresh."""
        now = time.monotonic()
        if now >= self._next_fill:
            self._next_fill = now + REFRESH_SECONDS
            self._refresh()
        if now >= self._next_probe:
            self._next_probe = now + PROBE_SECONDS
            ready = self._answers()
            if ready != self.ready or self._contradicted:
                self.ready, self._contradicted = ready, False
                self._show(statuses.running(self._began))

    def _refresh(self) -> None:
        try:
            self.files.fill()
        except Missing:
            return  # what is mounted stays

    def _answers(self) -> bool:
        path = self.main.get("readinessProbe", {}).get("httpGet", {}).get("path", "/readyz")
        try:
            return self._probing.request("GET", path).status < 400
        except urllib3.exceptions.HTTPError:
            return False

    def _depart(self) -> None:
        """SIGTERM and the grace period, then the pod is gone."""
        self.end(float(self.pod["spec"].get("terminationGracePeriodSeconds", 30)) + KILL_AFTER)
        if not self.around.closing.is_set():
            self.around.client.delete("pods", self.namespace, self.name, uid=self.uid, grace=0)

    def _show(self, state: Object) -> None:
        done = [statuses.container(spec, Ended(0).state, ready=True) for spec in self.first]
        conditions = statuses.conditions(initialized=True, ready=self.ready)
        row = statuses.container(self.main, state, ready=self.ready, restarts=self._restarts, last=self._last)
        self.write(**statuses.status("Running", conditions, done, [row]))

    def _show_first(self, index: int, state: Object, restarts: int = 0, last: Ended | None = None) -> None:
        """Init containers before this one are done, those after it wait."""
        rows = [
            statuses.container(spec, Ended(0).state, ready=True) if place < index
            else statuses.container(spec, state, restarts=restarts, last=last) if place == index
            else statuses.container(spec, statuses.INITIALIZING)
            for place, spec in enumerate(self.first)
        ]  # fmt: skip
        conditions = statuses.conditions(initialized=False, ready=False, reason="ContainersNotInitialized")
        main = [statuses.container(self.main, statuses.INITIALIZING)]
        self.write(**statuses.status("Pending", conditions, rows, main))


def backoff() -> Iterator[float]:
    """Pauses without end."""
    return chain(BACKOFF_SECONDS, repeat(BACKOFF_SECONDS[-1]))


def probe_port(container: Object) -> int:
    """The port of the readiness probe, which may be named."""
    port = container.get("readinessProbe", {}).get("httpGet", {}).get("port", 9090)
    named = {row.get("name"): row["containerPort"] for row in container.get("ports", [])}
    return int(named.get(port, port))


def serving_flags(container: Object, address: str) -> list[str]:
    """Our server listens on all addresses unless it is told; here that would be those of all pods."""
    words = [*container.get("command", []), *container.get("args", [])]
    return ["--host", address, "--metrics-host", address] if "serve" in words else []
