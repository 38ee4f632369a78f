"""The operator's two processes on the node: slowed down so that a phase lasts long enough to die in it, and killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chart.helm import HOME
from tests.cluster.operating import ready
from tests.control_plane.resources import Object
from tests.e2e.node import boundary
from tests.e2e.node.node import Node
from tests.waiting import LOOK_SECONDS, wait_until

NAME = "tidegate-operator"
SELECTOR = "app.kubernetes.io/component=operator"
SLOW = "10000"  # microseconds of CPU in each tenth of a second
DEATH_SECONDS = 90.0  # the Lease of the one before runs out, and a slow one comes to the phase


@dataclass
class Operators:
    """The processes that are known, by the names of their pods."""

    node: Node
    processes: dict[str, int] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)  # as the Lease calls them

    def slow_down(self, but: str = "") -> None:
        """Those that are ready, but for the pod whose death the kubelet may not have seen yet."""
        for pod in self._pods():
            name, container = pod["metadata"]["name"], container_of(pod)
            if name != but:
                self.processes[name] = self.node.process_of(container)
                quota_of(container).write_text(SLOW)

    def renew(self) -> None:
        """Two that nobody has slowed down: those that died the kubelet starts ever later."""
        self.node.kubectl("delete", "pods", "-n", HOME, "-l", SELECTOR)
        self.node.kubectl("rollout", "status", f"deployment/{NAME}", "-n", HOME, "--timeout=60s", seconds=70)

    def kill_the_leader(self, holds: Callable[[], bool], moment: str) -> None:
        """SIGKILL while something holds; it holds afterwards, for nobody leads until the Lease runs out."""

        def killed() -> str | None:
            identity = self.leader()
            pod = identity.split("_")[0]
            if not identity or identity in self.dead:
                return None
            if pod not in self.processes:
                self.slow_down()
            process = self.processes[pod]
            os.kill(process, signal.SIGSTOP)  # the moment does not pass while it is looked for
            if not holds():
                os.kill(process, signal.SIGCONT)
                return None
            os.kill(process, signal.SIGKILL)
            self.dead.add(identity)
            del self.processes[pod]
            return pod

        pod = wait_until(killed, moment, DEATH_SECONDS, seldom=LOOK_SECONDS)
        assert holds(), f"it died after {moment}"
        self.slow_down(but=pod)

    def leader(self) -> str:
        lease = self.node.plane.client.read("leases", HOME, NAME)
        return str(lease["spec"]["holderIdentity"])

    def _pods(self) -> list[Object]:
        return [pod for pod in self.node.plane.client.list("pods", HOME, SELECTOR) if ready(pod)]


def container_of(pod: Object) -> str:
    return str(pod["status"]["containerStatuses"][0]["containerID"])


def quota_of(container: str) -> Path:
    """The file that bounds a container's CPU time."""
    [tree] = [one for one in boundary.hierarchies() if "cpu" in one.controllers]
    [group] = tree.mounted.rglob(container.removeprefix("containerd://"))
    return group / "cpu.cfs_quota_us"
