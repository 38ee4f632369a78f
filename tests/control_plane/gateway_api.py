"""The Gateway API of the tests: its real definitions, and a gateway that is played where no traffic is needed.

Played pods have loopback addresses, which no EndpointSlice may hold, so the slices' controller does not run here: whom a
Service leads to is played too, under addresses that are never asked.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from tests.control_plane import programs
from tests.control_plane.client import ApiError
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object

API = "gateway.networking.k8s.io/v1"
CRD = "httproutes.gateway.networking.k8s.io"
CONTROLLER = "gateways.example.com/played"
ROUTES = ("httproutes", "grpcroutes")
LOOK_SECONDS = 0.05

Says = Callable[[Object], list[Object] | None]  # of a route: conditions, or None for silence


def install(plane: Plane) -> None:
    """The definitions of the standard channel, where they are not there yet."""
    if plane.client.get("customresourcedefinitions", "", CRD) is None:
        plane.install(*definitions())


def definitions() -> list[Path]:
    """Their files; they are fetched if they have to be."""
    folder = programs.module_folder("gateway-api", "sigs.k8s.io/gateway-api") / "config/crd/standard"
    return sorted(folder.glob("gateway.networking.k8s.io_*.yaml"))


def remove(plane: Plane) -> None:
    """The cluster is one without the Gateway API again, for tests of how that comes."""
    ours = [one["metadata"]["name"] for one in plane.client.list("customresourcedefinitions")]
    for name in (name for name in ours if name.endswith(API.partition("/")[0])):
        plane.client.delete("customresourcedefinitions", "", name)
        plane.client.until_gone("customresourcedefinitions", "", name, 60)


def create_gateway(plane: Plane, namespace: str, name: str, controller: str = CONTROLLER) -> None:
    """A Gateway with a listener `http`, and a class of its own that has this controller."""
    its_class = f"{namespace}-{name}"
    plane.client.create({
        "apiVersion": API, "kind": "GatewayClass", "metadata": {"name": its_class},
        "spec": {"controllerName": controller},
    })  # fmt: skip
    listener = {"name": "http", "protocol": "HTTP", "port": 80}
    plane.client.create({
        "apiVersion": API, "kind": "Gateway", "metadata": {"name": name, "namespace": namespace},
        "spec": {"gatewayClassName": its_class, "listeners": [listener]},
    })  # fmt: skip


def accepts(route: Object) -> list[Object]:
    """What a controller says that has taken a route as it is now."""
    return [said(route, "Accepted"), said(route, "ResolvedRefs")]


def said(route: Object, kind: str, status: str = "True", reason: str = "", message: str = "") -> Object:
    """One condition about the route's generation."""
    return {
        "type": kind, "status": status, "reason": reason or kind, "message": message,
        "observedGeneration": route["metadata"]["generation"], "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip


class PlayedGateway:
    """Speaks for every Gateway that routes of a namespace name, and says whom its Services lead to."""

    def __init__(self, plane: Plane, namespace: str, says: Says = accepts) -> None:
        self.says = says
        self.knows: Callable[[Object], bool] = lambda service: True  # whether a Service has its endpoints
        self.faults: list[str] = []
        self._client = plane.client
        self._namespace = namespace
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._play, name="played gateway", daemon=True)

    def __enter__(self) -> PlayedGateway:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._over.set()
        self._thread.join(10)
        assert self.faults == []

    def _play(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            try:
                self._turn()
            except ApiError as error:
                if error.status not in (404, 409) and "NamespaceTerminating" not in error.causes:
                    self.faults.append(traceback.format_exc())

    def _turn(self) -> None:
        pods = self._client.list("pods", self._namespace, "serving.tidegate.io/deployment")
        for service in self._client.list("services", self._namespace, "app.kubernetes.io/managed-by=tidegate"):
            if self.knows(service):
                self._lead(service, list(selected(service, pods)))
        for plural in ROUTES:
            for route in self._client.list(plural, self._namespace):
                self._answer(route)

    def _lead(self, service: Object, pods: list[Object]) -> None:
        name = service["metadata"]["name"]
        endpoints = [endpoint(pod) for pod in pods]
        there = self._client.get("endpointslices", self._namespace, name)
        if there is not None and there["endpoints"] == endpoints:
            return
        labels = {**service["metadata"]["labels"], "kubernetes.io/service-name": name}
        reference = {"apiVersion": "v1", "kind": "Service", "name": name, "uid": service["metadata"]["uid"]}
        self._client.apply({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": endpoints,
            "metadata": {
                "name": name, "namespace": self._namespace, "labels": labels, "ownerReferences": [reference],
            },
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        })  # fmt: skip

    def _answer(self, route: Object) -> None:
        conditions = self.says(route)
        if conditions is None:
            return
        parents = [
            {"parentRef": parent, "controllerName": CONTROLLER, "conditions": conditions}
            for parent in route["spec"].get("parentRefs", [])
        ]
        if (route.get("status") or {}).get("parents") != parents:
            self._client.put_status({**route, "status": {"parents": parents}})


def selected(service: Object, pods: list[Object]) -> Iterator[Object]:
    wanted = service["spec"]["selector"].items()
    for pod in pods:
        if wanted <= pod["metadata"]["labels"].items() and pod["status"].get("podIP"):
            yield pod


def endpoint(pod: Object) -> Object:
    conditions = pod["status"].get("conditions", [])
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return {
        "addresses": [pod["status"]["podIP"].replace("127.", "10.", 1)],
        "conditions": {"ready": ready and not pod["metadata"].get("deletionTimestamp")},
        "targetRef": {"kind": "Pod", "name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]},
    }
