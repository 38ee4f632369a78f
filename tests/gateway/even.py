"""A gateway that takes every route and heeds no weight: each version in a rule gets as many requests as any other.

Its controller is a thread that says `Accepted` when a route's backends are in the configuration of its Envoy, which is
a real one.  `heed` makes it do what a route asks for.
"""

from __future__ import annotations

import threading
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.control_plane.client import ApiError
from tests.control_plane.gateway_api import accepts, create_gateway
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.waiting import wait_until

from tidegate.local import envoy
from tidegate.local.files import write_json
from tidegate.local.machine import envoy_binary
from tidegate.local.routes import Listen

NAME = "even"
CONTROLLER = "gateways.example.com/even"
LOOK_SECONDS = 0.05
CONNECT_SECONDS = 5


class EvenGateway:
    """Serves the HTTPRoutes of a namespace that name the Gateway `even` in it; `faults` are what went wrong."""

    def __init__(self, plane: Plane, namespace: str, listen: Listen, folder: Path) -> None:
        self.faults: list[str] = []
        self._plane, self._client, self._namespace, self._folder = plane, plane.client, namespace, folder
        self._listen = listen
        self._version = 0
        self._heeds = False
        self._configured: tuple[Any, bool] = (None, False)  # what Envoy was told of, and whether by the weights
        self._clusters: dict[str, list[str]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._play, name="even gateway", daemon=True)

    def __enter__(self) -> EvenGateway:
        create_gateway(self._plane, self._namespace, NAME, CONTROLLER)
        self._configure([])
        bootstrap = self._folder / "bootstrap.json"
        write_json(bootstrap, envoy.bootstrap(self._listen, self._folder, self._folder / "admin.sock"))
        flags = ["-c", str(bootstrap), "--concurrency", "1", "--disable-hot-restart", "-l", "warn"]
        self._envoy = self._plane.children.start("even-envoy", [envoy_binary(), *flags], {})
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._over.set()
        self._thread.join(10)
        self._envoy.stop()
        assert self.faults == []

    def heed(self, heeds: bool) -> None:
        """From now on it heeds weights, or none."""
        self._heeds = heeds
        wait_until(lambda: self._configured[1] is heeds, "its Envoy is told")

    def _play(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            try:
                self._turn()
            except ApiError as error:
                if error.status not in (404, 409):
                    self.faults.append(traceback.format_exc())

    def _turn(self) -> None:
        routes = [
            one for one in self._client.list("httproutes", self._namespace)
            if any(parent["name"] == NAME for parent in one["spec"].get("parentRefs", []))
        ]  # fmt: skip
        slices = self._client.list("endpointslices", self._namespace)
        asked = [[route["spec"] for route in routes], [(ready_in(one), one["metadata"]["name"]) for one in slices]]
        wanted = (asked, self._heeds)
        if wanted != self._configured:
            for one in slices:
                self._clusters[one["metadata"]["labels"]["kubernetes.io/service-name"]] = ready_in(one)
            self._configure([host(route, heeds=wanted[1]) for route in routes])
            self._configured = wanted
        for route in routes:
            self._accept(route)

    def _accept(self, route: Object) -> None:
        parents = [
            {"parentRef": parent, "controllerName": CONTROLLER, "conditions": accepts(route)}
            for parent in route["spec"]["parentRefs"]
        ]
        if (route.get("status") or {}).get("parents") != parents:
            self._client.put_status({**route, "status": {"parents": parents}})

    def _configure(self, hosts: list[Object]) -> None:
        """Clusters first, and none of them is ever taken away: no route names one that is not there."""
        self._version += 1
        clusters = [cluster(name, addresses) for name, addresses in sorted(self._clusters.items())]
        write_json(self._folder / "clusters.json", envoy.discovery(str(self._version), clusters))
        table = {
            "@type": f"{envoy.ENVOY}.config.route.v3.RouteConfiguration", "name": envoy.ROUTES,
            "virtual_hosts": hosts,
        }  # fmt: skip
        write_json(self._folder / "routes.json", envoy.discovery(str(self._version), [table]))


def host(route: Object, *, heeds: bool) -> Object:
    backends = route["spec"]["rules"][-1]["backendRefs"]
    shares = [{"name": one["name"], "weight": one["weight"] if heeds else 1} for one in backends]
    rule = {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": shares}, "timeout": "0s"}}
    return envoy.virtual_host(route["metadata"]["name"], route["spec"]["hostnames"], [rule])


def ready_in(one: Object) -> list[str]:
    return [endpoint["addresses"][0] for endpoint in one["endpoints"] or [] if endpoint["conditions"].get("ready")]


def cluster(name: str, addresses: list[str]) -> Object:
    servers = [
        {"endpoint": {"address": {"socket_address": {"address": address, "port_value": 8080}}}} for address in addresses
    ]
    return {
        "@type": f"{envoy.ENVOY}.config.cluster.v3.Cluster", "name": name, "type": "STATIC",
        "connect_timeout": f"{CONNECT_SECONDS}s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": servers}]},
    }  # fmt: skip
