"""A control plane for one test session: started by condition, shown when it fails, gone with the test run.

Two sizes: `only_api` is etcd and kube-apiserver; the whole one adds the controllers, the scheduler, simulated nodes and
pods (kwok), and the player, which runs real processes for pods that ask for it.  The CRD is installed before the
controllers start: their garbage collector takes 40 s to notice one that comes later.
"""

from __future__ import annotations

import itertools
import select
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import urllib3
import yaml
from tests.control_plane import commands, programs, simulation
from tests.control_plane.audit import Audit
from tests.control_plane.children import Child, Children, Died
from tests.control_plane.client import ApiError, Client
from tests.control_plane.network import Network, claimed_network
from tests.control_plane.pki import make_pki
from tests.control_plane.player import Player
from tests.control_plane.programs import Program
from tests.control_plane.resources import Object
from tests.control_plane.users import ADMIN, PLAYER, User

CRDS = Path(__file__).parents[2] / "crds"
READY_SECONDS = 60.0
LOOK_SECONDS = 0.02
NODES: dict[str, dict[str, str]] = {"sim-1": {}, "sim-2": {}, "sim-gpu": {"nvidia.com/gpu": "2"}}
# All parts are written in Go: memory that is collected a third as often costs less time, which is what is scarce.
SELDOM_COLLECTED = {"GOGC": "300"}
GPU_LABELS = {"nvidia.com/gpu.product": "NVIDIA-H200"}


@dataclass(slots=True, repr=False)
class Plane:
    """A control plane that answers."""

    place: commands.Place
    children: Children
    client: Client  # of the admin
    audit: Audit
    began: float
    player: Player | None = None
    seconds: dict[str, float] = field(default_factory=dict)  # from the start until that part was ready
    _parts: list[Child] = field(default_factory=list)
    _names: Iterator[int] = field(default_factory=itertools.count)

    @property
    def url(self) -> str:
        return self.place.url

    @property
    def ca(self) -> Path:
        return self.place.pki.ca

    def run(self, program: Program, arguments: Sequence[str]) -> None:
        """Start a part; whether it works shows in what is waited for."""
        self.start(program.name, [programs.find(program), *arguments])

    def start(self, name: str, command: Sequence[str | Path]) -> None:
        """Start a part that is none of our programs."""
        self._parts.append(self.children.start(name, command, SELDOM_COLLECTED))

    def until(self, ready: Callable[[], bool], part: str) -> None:
        """Wait for a part, as `wait_for` does, and note when it was ready."""
        self.wait_for(ready, part)
        self.seconds[part] = round(time.monotonic() - self.began, 2)

    def wait_for(self, ready: Callable[[], bool], part: str) -> None:
        """Wait; Died with the logs when a process ends, or the time is up."""
        end = time.monotonic() + READY_SECONDS
        while not answers(ready):
            for child in self._parts:
                child.check()
            if time.monotonic() > end:
                logs = "\n".join(f"--- {child.name}\n{child.last_lines()}" for child in self._parts)
                raise Died(f"{part} not ready within {READY_SECONDS:g} s\n{logs}")
            select.select([], [], [], LOOK_SECONDS)

    def part(self, program: Program) -> Child:
        """A running part, for a test that wants to stop or harm it."""
        return next(child for child in self._parts if child.name == program.name)

    def client_of(self, user: User) -> Client:
        return self.client.as_token(user.token)

    def kubeconfig(self, user: User) -> Path:
        return self.place.kubeconfig(user.name, user.token)

    def install(self, *manifests: Path) -> None:
        """Apply the objects of YAML files; a CRD is there when this returns."""
        objects = [obj for path in manifests for obj in yaml.safe_load_all(path.read_text()) if obj]
        for obj in objects:
            self.client.apply(obj)
        for crd in (obj for obj in objects if obj["kind"] == "CustomResourceDefinition"):
            self.client.until("customresourcedefinitions", "", crd["metadata"]["name"], is_established)
            self.wait_for(lambda: self._serves(crd), crd["metadata"]["name"])  # noqa: B023

    def _serves(self, crd: Object) -> bool:
        """Established is not enough: for a moment more the first requests are answered 429."""
        spec = crd["spec"]
        paths = [
            f"/apis/{spec['group']}/{row['name']}/{spec['names']['plural']}"
            for row in spec["versions"]
            if row["served"]
        ]
        return all(self.client.request("GET", path, query={"limit": "1"}) for path in paths)

    def add_nodes(self, count: int) -> None:
        """More simulated nodes, for tests of many pods."""
        for _ in range(count):
            self.client.create(simulation.node(f"more-{next(self._names)}", self.place.network.node))

    def new_namespace(self, prefix: str = "test") -> str:
        """A namespace that is ready for pods."""
        name = f"{prefix}-{next(self._names)}"
        self.client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}
        try:
            self.client.create(account)  # the controllers do it too, a moment later
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        return name


@contextmanager
def only_api() -> Iterator[Plane]:
    """etcd and kube-apiserver with our CRD: no object has any consequence."""
    with ExitStack() as stack:
        plane = start_api(stack)
        install_crds(plane)
        yield plane


def install_crds(plane: Plane) -> None:
    plane.install(*sorted(CRDS.glob("*.yaml")))


@contextmanager
def bare() -> Iterator[Plane]:
    """etcd and kube-apiserver, and nothing in it."""
    with ExitStack() as stack:
        yield start_api(stack)


@contextmanager
def whole(prepare: Callable[[Plane], None] = install_crds, pods: str = "") -> Iterator[Plane]:
    """A cluster without machines; `prepare` brings the CRD, `pods` is where pods are if not on the loopback network."""
    with ExitStack() as stack:
        plane = start_api(stack, pods)
        start_simulation(plane)
        prepare(plane)
        start_controllers(plane)
        client = stack.enter_context(closing(plane.client_of(PLAYER)))
        plane.player = stack.enter_context(
            Player(client, plane.children, plane.place.network, plane.place.folder / "pods")
        )
        yield plane


def start_api(
    stack: ExitStack,
    pods: str = "",
    network: Network | None = None,
    api_server: Callable[[commands.Place], list[str]] = commands.api_server,
) -> Plane:
    """Both servers at once: each waits for what it needs.  `pods` is what `claimed_network` takes, where none is given."""
    began = time.monotonic()
    network = network or stack.enter_context(claimed_network(pods))
    pki = make_pki(network.folder / "pki", (*network.servers, network.node))
    place = commands.Place(network.folder, network, pki)
    children = Children(network.folder / "logs")
    stack.callback(children.close)
    client = Client(place.url, pki.ca, ADMIN.token)
    stack.callback(client.close)
    plane = Plane(place, children, client, Audit(place.audit_log), began)
    plane.run(programs.ETCD, commands.etcd(place))
    plane.run(programs.API_SERVER, api_server(place))
    plane.until(lambda: client.text("/readyz") == "ok", "API server")
    return plane


def start_simulation(plane: Plane) -> None:
    """Nodes, and who puts pods on them and lets them live."""
    plane.run(programs.SCHEDULER, commands.scheduler(plane.place))
    plane.run(programs.KWOK, commands.kwok(plane.place, simulation.stages()))
    for name, more in NODES.items():
        labels = GPU_LABELS if more else {}
        plane.client.create(simulation.node(name, plane.place.network.node, more, labels))


def start_controllers(plane: Plane) -> None:
    """What makes pods of Deployments, and when a first one could run."""
    plane.run(programs.CONTROLLERS, commands.controllers(plane.place))
    plane.until(lambda: plane.client.get("serviceaccounts", "default", "default") is not None, "controllers")
    plane.until(lambda: all(is_usable(node) for node in plane.client.list("nodes")), "nodes")


def answers(ready: Callable[[], bool]) -> bool:
    """Whether it is ready; a server that is not there yet is not."""
    try:
        return ready()
    except (ApiError, urllib3.exceptions.HTTPError):
        return False


def is_established(crd: Object) -> bool:
    return has_condition(crd, "Established")


def is_usable(node: Object) -> bool:
    """Ready, and the taints of a new node are gone."""
    return has_condition(node, "Ready") and not node["spec"].get("taints")


def has_condition(obj: Object, name: str) -> bool:
    conditions = obj.get("status", {}).get("conditions") or []  # null in a new CRD
    return any(row["type"] == name and row["status"] == "True" for row in conditions)
