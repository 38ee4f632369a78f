"""A scenario as sentences: what is given, what is done, what must then be seen.

Each word acts, or waits with a deadline, and gives the story back.  Reads go by the API; whatever a person would do is
done by the real kubectl.  A story ends with `no_client_saw_an_error` wherever clients ask.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.cluster.operating import GROUP, QUICK, condition, fact, ready, serves, weight
from tests.control_plane.resources import Object
from tests.e2e.cluster import budget
from tests.e2e.cluster.shelf import Shelf
from tests.e2e.cluster.steady import Steady
from tests.e2e.cluster.times import Times
from tests.e2e.node.commands import NODE
from tests.e2e.node.node import CommandFailed, Node
from tests.waiting import wait_until

FIRST_ANSWER = "from kubectl apply until the first answer"
HOME = "tidegate"  # the operator's namespace
MODEL = "fraud"
PATIENCE = 60.0
PORT = 8080
QUICK_ROLLOUT = {"steps": [{"weight": 50, "hold": "1s"}], "scaleDownDelay": "0s", "analysis": QUICK}
RESOURCES = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}


@dataclass(frozen=True, slots=True)
class Door:
    """Where clients ask; a gateway knows by the host's name whom a request is for."""

    address: str
    port: int
    host: str = ""


@dataclass
class Story:
    """One namespace with one model in it."""

    node: Node
    shelf: Shelf
    namespace: str
    times: Times
    clients: list[Steady] = field(default_factory=list)
    gateway: Door | None = None  # where clients ask instead of at the Service
    load: Steady | None = None
    _spec: dict[str, Any] = field(default_factory=dict)

    @property
    def given(self) -> Story:
        return self

    @property
    def when(self) -> Story:
        return self

    @property
    def then(self) -> Story:
        return self

    # given

    def a_model(self, version: str, **spec: Any) -> Story:
        """It is applied, is Ready, and has answered."""
        self.a_secret("store")
        with self.times.measured(FIRST_ANSWER):
            with self.times.measured("from kubectl apply until the model is Ready"):
                with self.times.measured("  kubectl apply itself"):
                    self.applied(version, **spec)
                budget.follow(self.node, self.namespace, MODEL, self.times)
                with self.times.measured("  the operator says that it is Ready"):
                    self.serves(version)
            with self.times.measured("  a first answer"):
                self.answers()
        return self

    def behind(self, gateway: Door, routing: Object) -> Story:
        """Clients ask there, from the first model on."""
        self.gateway = gateway
        self._spec["routing"] = routing
        return self

    def a_secret(self, name: str) -> Story:
        """The S3 server's credentials."""
        self.node.kubectl("apply", "-f", "-", given=json.dumps(self.shelf.credentials(self.namespace, name)))
        return self

    def a_repository_of_its_own(self) -> Story:
        """With the same bundles; before the model."""
        self.shelf = self.shelf.another(self.namespace)
        return self

    def a_volume(self, name: str) -> Story:
        """A claim whose volume is a folder of the node."""
        volume, size = f"{name}-of-{self.namespace}", {"storage": "1Gi"}
        folder = self.node.plane.place.folder / volume
        folder.mkdir()
        common = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
        here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
        affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}}
        objects: list[Object] = [
            {
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
                "spec": {**common, "capacity": size, "local": {"path": str(folder)}, "nodeAffinity": affinity},
            },
            {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {**common, "resources": {"requests": size}, "volumeName": volume},
            },
        ]  # fmt: skip
        for one in objects:
            self.node.kubectl("apply", "-f", "-", given=json.dumps(one))
        return self

    def steady_clients(self, count: int = 4) -> Story:
        self.answers()
        return self._clients_at(self.door(), count)

    def clients_of_the_service(self, count: int = 4) -> Story:
        """Such as are inside the cluster, whatever becomes of a gateway."""
        return self._clients_at(Door(self.front(), PORT), count)

    def _clients_at(self, door: Door, count: int) -> Story:
        self.clients.append(Steady(door.address, door.port, MODEL, count, host=door.host).start())
        self.clients[-1].more(20)
        return self

    # when

    def applied(self, version: str, **spec: Any) -> Story:
        """`kubectl apply` of the manifest; what is not given stays as it was."""
        self._spec |= spec
        self.node.kubectl("apply", "-f", "-", given=json.dumps(self._manifest(version)))
        return self

    def tidegate(self, *words: str) -> Story:
        """`kubectl tidegate …` in this namespace."""
        self.node.tidegate(*words, "-n", self.namespace)
        return self

    def kubectl(self, *words: str) -> Story:
        self.node.kubectl(*words, "-n", self.namespace)
        return self

    def a_command(self, verb: str) -> Story:
        """About the candidate, as an annotation: nobody waits until it is taken up."""
        value = f"{self.now()['status']['candidate']['revision']}@{datetime.now(UTC).isoformat()}"
        return self.kubectl("annotate", "modeldeployment", MODEL, f"{GROUP}/{verb}={value}", "--overwrite")

    def the_load_rises(self, clients: int, rows: int = 1) -> Story:
        """So many more, each request of so many rows, until it falls."""
        self.load = Steady(self.front(), PORT, MODEL, clients, rows=rows).start()
        return self

    def the_load_falls(self) -> Story:
        assert self.load
        self.load.stop()
        assert not self.load.failures, self.load.failures
        return self

    def a_server_is_deleted(self) -> Story:
        """It drains, and is gone when this returns; another one starts."""
        return self.kubectl("delete", "pod", self.servers()[0]["metadata"]["name"])

    def a_server_gets(self, number: signal.Signals) -> Story:
        """A signal to the process of one server's container, from the node."""
        status = self.servers()[0]["status"]["containerStatuses"][0]
        os.kill(self.node.process_of(status["containerID"]), number)
        return self

    def the_store_stops(self) -> Story:
        """The S3 server dies: nobody answers at its address."""
        self.shelf.server.stop()
        return self

    def the_store_is_back(self) -> Story:
        self.shelf.server.start()
        return self

    def the_version_is_deleted(self, version: str) -> Story:
        """Upstream, by its name; its content stays."""
        self.shelf.delete(f"{version}/")
        return self

    def the_repository_is_emptied(self) -> Story:
        self.shelf.delete()
        return self

    def everything_is_published_again(self) -> Story:
        self.shelf.publish()
        return self

    def the_node_is_drained_in_vain(self) -> Story:
        """There is no other node: the budget keeps the last server until the command gives up."""
        selector = f"{GROUP}/deployment={MODEL}"
        try:
            self.node.kubectl("drain", NODE, "--pod-selector", selector, "--delete-emptydir-data", "--timeout=8s")
        except CommandFailed as error:
            assert "disruption budget" in str(error), error
            return self
        raise AssertionError("every server could be evicted")

    def the_node_is_back(self) -> Story:
        self.node.kubectl("uncordon", NODE)
        return self

    def the_operator_is_killed(self) -> Story:
        """The leader's pod goes at once; its process gets SIGTERM still (for SIGKILL see operators.py)."""
        lease = self.node.plane.client.read("leases", HOME, "tidegate-operator")
        holder = lease["spec"]["holderIdentity"].split("_")[0]
        self.node.kubectl("delete", "pod", holder, "-n", HOME, "--grace-period=0", "--force")
        return self

    # then

    def until(self, holds: Callable[[Object], Any], seconds: float = PATIENCE) -> Story:
        self.node.plane.client.until("modeldeployments", self.namespace, MODEL, holds, seconds)
        return self

    def answers(self) -> Story:
        """The front does; who leads there knows of it a moment after the status says Ready."""
        wait_until(lambda: is_ready(self.door()), "a first answer", PATIENCE)
        return self

    def serves(self, version: str, seconds: float = PATIENCE) -> Story:
        """It is the stable version, and what the manifest asks for."""
        return self.until(lambda one: serves(one, version) and condition(one, "Promoted") == "True", seconds)

    def serves_instead(self, version: str, reason: str) -> Story:
        """It is the stable version, and not what the manifest asks for."""
        return self.until(lambda one: serves(one, version) and fact(one, "Promoted").get("reason") == reason)

    def holds_at(self, percent: int, reason: str) -> Story:
        return self.until(lambda one: weight(one) == percent and rollout(one).get("holdReason") == reason)

    def says(self, kind: str, reason: str, words: str = "", seconds: float = PATIENCE) -> Story:
        """A condition's reason, and words of its message."""

        def told(deployment: Object) -> bool:
            found = fact(deployment, kind)
            return found.get("reason") == reason and words in found["message"]

        return self.until(told, seconds)

    def all_answers_come_from(self, version: str) -> Story:
        """Those on new connections, a moment after the status says so: endpoints and the node's rules follow it."""
        for steady in self.clients:
            wait_until(lambda: steady.next_answers(50) == {version}, f"answers of {version} alone")  # noqa: B023
        return self

    def answers_come_from(self, *versions: str) -> Story:
        for steady in self.clients:
            for version in versions:
                steady.more(5, version)
        return self

    def answers_came_from(self, *versions: str) -> Story:
        """From each of them and no other, since clients began to ask."""
        for steady in self.clients:
            assert set(steady.last) == set(versions), (steady.answers, steady.kept)
        return self

    def has_servers(self, count: int, seconds: float = PATIENCE) -> Story:
        """So many are ready, and no other pod is left."""
        wait_until(lambda: [ready(pod) for pod in self.servers()] == [True] * count, f"{count} servers", seconds)
        return self

    def has_more_servers_than(self, count: int) -> Story:
        wait_until(lambda: sum(map(ready, self.servers())) > count, f"more than {count} servers", PATIENCE)
        return self

    def a_server_was_restarted(self) -> Story:
        """By the kubelet, in its pod."""

        def restarted() -> bool:
            return any(pod["status"]["containerStatuses"][0]["restartCount"] == 1 for pod in self.servers())

        self.node.plane.until(restarted, "a restart")
        return self

    def nothing_is_left(self) -> Story:
        client = self.node.plane.client
        for plural in ("pods", "deployments", "replicasets", "services", "jobs", "endpointslices", "networkpolicies"):
            found: list[str] = []

            def gone(plural: str = plural, found: list[str] = found) -> bool:
                found[:] = [one["metadata"]["name"] for one in client.list(plural, self.namespace)]
                return not found

            self.node.plane.until(gone, f"{plural} of {self.namespace} are gone")
        return self

    def no_client_saw_an_error(self) -> Story:
        for steady in self.clients:
            steady.more(20)
            steady.stop()
        failures = [failure for steady in self.clients for failure in steady.failures]
        assert not failures, failures
        self.clients.clear()
        return self

    # what it looks at

    def door(self) -> Door:
        return self.gateway or Door(self.front(), PORT)

    def front(self) -> str:
        """The Service's own address: what its name would stand for."""
        return str(self.node.plane.client.read("services", self.namespace, MODEL)["spec"]["clusterIP"])

    def now(self) -> Object:
        return self.node.plane.client.read("modeldeployments", self.namespace, MODEL)

    def server_names(self) -> set[str]:
        return {pod["metadata"]["name"] for pod in self.servers()}

    def servers(self) -> list[Object]:
        pods = self.node.plane.client.list("pods", self.namespace, f"{GROUP}/deployment={MODEL}")
        return [pod for pod in pods if f"{GROUP}/revision" in pod["metadata"]["labels"]]

    def close(self) -> None:
        for steady in (*self.clients, *([self.load] if self.load else [])):
            steady.stop()

    def _manifest(self, version: str) -> Object:
        rollout = QUICK_ROLLOUT | self._spec.get("rollout", {})
        return {
            "apiVersion": f"{GROUP}/v1alpha1", "kind": "ModelDeployment",
            "metadata": {"name": MODEL, "namespace": self.namespace},
            "spec": {
                "bundle": {"uri": f"{self.shelf.address}/{version}", "secretRef": {"name": "store"}},
                "runtime": {"resources": RESOURCES}, **self._spec, "rollout": rollout,
            },
        }  # fmt: skip


def is_ready(door: Door) -> bool:
    """Whether the model behind a door says so."""
    connection = http.client.HTTPConnection(door.address, door.port, timeout=0.5)
    try:
        connection.request("GET", f"/v2/models/{MODEL}/ready", headers={"Host": door.host or door.address})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def rollout(deployment: Object) -> Mapping[str, Any]:
    return (deployment.get("status") or {}).get("rollout") or {}
