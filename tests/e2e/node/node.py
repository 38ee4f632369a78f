"""A real node: kubelet, containerd, kube-proxy and a control plane, inside the boundary (`boundary.py`).

Nothing here is stopped in order: what the test run has started ends with its PID namespace.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.control_plane import commands as plane_commands
from tests.control_plane import programs
from tests.control_plane.network import Network
from tests.control_plane.pki import KUBELET_CLIENT
from tests.control_plane.plane import Plane, is_usable, start_api
from tests.control_plane.users import ADMIN
from tests.e2e.node import boundary, commands, pause

PREFIX = "10.90"
SERVICES = plane_commands.SERVICES
COMMAND_SECONDS = 60
SHOWN_LINES = 25
RBAC = "rbac.authorization.k8s.io"


class CommandFailed(Exception):
    """A command ended with an error: its words."""


@dataclass(slots=True)
class Node:
    """A cluster of one node that runs pods."""

    plane: Plane

    @property
    def address(self) -> str:
        return self.plane.place.network.node

    def kubectl(self, *words: str | Path, given: str = "", seconds: float = COMMAND_SECONDS) -> str:
        """The real kubectl, as the admin."""
        return told([programs.find(programs.KUBECTL), *words], self._environment(), given, seconds)

    def tidegate(self, *words: str | Path, seconds: float = COMMAND_SECONDS) -> str:
        """`kubectl tidegate`, found by kubectl on its PATH."""
        return self.kubectl("tidegate", *words, seconds=seconds)

    def process_of(self, container: str) -> int:
        """The first process of a container, named as in a pod's status."""
        tasks = commands.ctr(self.plane.place, "tasks", "list").splitlines()
        [pid] = [line.split()[1] for line in tasks if line.startswith(container.removeprefix("containerd://"))]
        return int(pid)

    def load(self, archive: Path) -> None:
        """Give the node an image."""
        commands.ctr(self.plane.place, "images", "import", archive)

    def state(self) -> str:
        """All that helps to understand why something did not come: objects, events, the ends of logs."""
        looks = (
            ["get", "pods,jobs,deployments,services,endpointslices", "-A", "-o", "wide"],
            ["get", "events", "-A", "--sort-by=.metadata.creationTimestamp"],
            ["get", "modeldeployments", "-A", "-o", "yaml"],
            ["get", "gateways,httproutes,grpcroutes", "-A", "-o", "yaml"],
            ["logs", "-n", "tidegate", "-l", "app.kubernetes.io/component=operator", "--tail=60", "--prefix"],
        )
        found = [f"$ kubectl {' '.join(look)}\n{self._tried(look)}" for look in looks]
        logs = sorted(self.plane.children.folder.glob("*.log"))
        return "\n".join([*found, *(f"--- {log.name}\n{end_of(log)}" for log in logs)])

    def _tried(self, look: list[str]) -> str:
        try:
            return self.kubectl(*look, seconds=20)
        except (CommandFailed, subprocess.TimeoutExpired) as error:
            return str(error)

    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.plane.place.folder), "KUBECONFIG": str(self.plane.kubeconfig(ADMIN))}


def told(command: Sequence[str | Path], environment: dict[str, str], given: str, seconds: float) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        raise CommandFailed(f"{' '.join(str(word) for word in command[1:])}: {done.stderr}{done.stdout}")
    return done.stdout


def end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-SHOWN_LINES:])


@contextmanager
def running(imported: Path, definitions: Sequence[Path] = ()) -> Iterator[Node]:
    """A node that is Ready and has the images of a containerd's folder; its cluster begins with `definitions` (YAML)."""
    folder = Path(os.environ[boundary.INSIDE]) / "node"
    folder.mkdir()
    network = Network(PREFIX, folder)
    give_addresses(network)
    with ExitStack() as stack:
        node = Node(start_api(stack, network=network, api_server=commands.api_server))
        node.plane.install(*definitions)  # before the controllers start: later ones take their collector 40 s to notice
        start(node, imported)
        yield node


def start(node: Node, imported: Path) -> None:
    """All the rest of the cluster, until the node takes pods."""
    plane, place = node.plane, node.plane.place
    plane.run(programs.CONTROLLERS, commands.controllers(place))
    plane.run(programs.SCHEDULER, plane_commands.scheduler(place))
    plane.start("containerd", commands.containerd(place, imported))
    plane.client.apply({
        "apiVersion": f"{RBAC}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": KUBELET_CLIENT},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "system:kubelet-api-admin"},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": KUBELET_CLIENT}],
    })  # fmt: skip
    plane.until(commands.socket(place).exists, "containerd")
    node.load(pause.write(Path("/usr/bin/busybox"), place.folder / "pause.tar"))
    plane.run(programs.KUBELET, commands.kubelet(place))
    plane.run(programs.KUBE_PROXY, commands.kube_proxy(place))
    plane.until(lambda: [is_usable(one) for one in plane.client.list("nodes")] == [True], "node Ready")
    plane.until(lambda: plane.client.get("serviceaccounts", "default", "default") is not None, "controllers")


def give_addresses(network: Network) -> None:
    for address in (*network.servers, network.node):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    # A packet for a Service needs some way out before kube-proxy's rules give it its real one.  Where they do not yet,
    # it is refused: a lost one would spoil its source port, which is used again, for as long as it is tracked.
    subprocess.run(["ip", "route", "add", SERVICES, "dev", "lo", "src", network.node], check=True)
    for chain in ("OUTPUT", "FORWARD"):
        subprocess.run(["iptables", "-A", chain, "-d", SERVICES, "-j", "REJECT"], check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
