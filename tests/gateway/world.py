"""A cluster with a real gateway: Contour and the Envoy that it drives, before real servers on pods' addresses.

`python -m tests.gateway.world` builds and fetches what that needs, which a network of one's own does not let.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.cluster import metrics_api
from tests.cluster.operating import Operator, Site, grant
from tests.control_plane import gateway_api, programs
from tests.control_plane.children import Child
from tests.control_plane.plane import Plane, install_crds, whole
from tests.control_plane.resources import Object
from tests.control_plane.users import GATEWAY
from tests.gateway.own_network import PODS, take_addresses
from tests.local.local_run import bundles
from tests.waiting import wait_until

from tidegate.local.machine import envoy_binary

HERE = "127.0.0.1"
HTTP_PORT = 8080  # of Envoy: Contour adds 8000 to a listener's port below 1024
XDS_PORT, ADMIN_PORT = 18001, 18010
SPACE = "gateways"
API = "gateway.networking.k8s.io/v1"
PARENT = {"name": "public", "namespace": SPACE, "sectionName": "http"}
PLAIN = ("tlsroutes", "tcproutes", "backendtlspolicies")  # what is not of the standard channel, or not needed


def tell(play: Callable[[Site], Coroutine[Any, Any, dict[str, Any]]]) -> None:
    """Play a story in this process's own network, and print what is told as JSON."""
    take_addresses()
    with tempfile.TemporaryDirectory() as folder, real_gateway(Path(folder)) as site:
        try:
            told = asyncio.run(play(site))
        except BaseException:
            show(site)
            raise
    print(json.dumps(told))  # noqa: T201


def show(site: Site) -> None:
    """What there was when something did not come about."""
    for plural in ("modeldeployments", "horizontalpodautoscalers", "httproutes", "grpcroutes", "endpointslices"):
        for found in site.children(plural):
            found["metadata"].pop("managedFields", None)
            print(json.dumps(found), file=sys.stderr)  # noqa: T201
    print(site.plane.part(programs.CONTOUR).last_lines(60), file=sys.stderr)  # noqa: T201


@contextmanager
def real_gateway(folder: Path) -> Iterator[Site]:
    """A site whose deployments a real gateway may serve; an operator leads, and tells autoscalers the load."""
    with whole(prepare=definitions, pods=PODS) as plane:
        start_gateway(plane, folder)
        grant(plane)
        metrics_api.enable(plane)
        operator = Operator(plane, folder / "operator", metrics_api.flags(address=f"{PODS}.0.1")).start().leads()
        try:
            site = Site(plane, plane.new_namespace())
            site.mount(bundles(folder / "store"))
            yield site
        finally:
            operator.close()


def definitions(plane: Plane) -> None:
    install_crds(plane)
    plane.install(*gateway_definitions())


def gateway_definitions() -> list[Path]:
    """The files of all kinds that Contour reads; they are fetched if they have to be."""
    contour = programs.module_folder("contour", "github.com/projectcontour/contour")
    return [*gateway_api.definitions(), contour / "examples/contour/01-crds.yaml"]


@dataclass(slots=True)
class Envoy:
    """The data plane, which may die: all that it knows it gets from Contour when it starts."""

    plane: Plane
    command: list[str | Path]
    child: Child

    @contextmanager
    def dead(self) -> Iterator[None]:
        """Killed without a farewell to anybody, and started again at the end."""
        self.child.process.kill()
        self.child.process.wait()
        try:
            yield
        finally:
            self.child = self.plane.children.start("envoy", self.command, {})


def start_gateway(plane: Plane, folder: Path) -> Envoy:
    """A class, a Gateway for the routes of all namespaces, Contour, and its Envoy on HERE:HTTP_PORT."""
    client = plane.client
    client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    client.create({
        "apiVersion": API, "kind": "GatewayClass", "metadata": {"name": "contour"},
        "spec": {"controllerName": "projectcontour.io/gateway-controller"},
    })  # fmt: skip
    listener = {"name": "http", "protocol": "HTTP", "port": 80, "allowedRoutes": {"namespaces": {"from": "All"}}}
    client.create({
        "apiVersion": API, "kind": "Gateway", "metadata": {"name": "public", "namespace": SPACE},
        "spec": {"gatewayClassName": "contour", "listeners": [listener]},
    })  # fmt: skip
    plane.run(programs.CONTOUR, contour(plane, folder))
    command: list[str | Path] = [envoy_binary(), *envoy_flags(plane, folder)]
    envoy = Envoy(plane, command, plane.children.start("envoy", command, {}))
    wait_until(lambda: programmed(plane), lambda: f"a gateway\n{envoy.child.last_lines()}", 60)
    return envoy


def contour(plane: Plane, folder: Path) -> list[str]:
    config = folder / "contour.yaml"
    config.write_text(yaml.safe_dump({"gateway": {"gatewayRef": {"namespace": SPACE, "name": "public"}}}))
    ports = {"stats": 18002, "http": 18003, "health": 18004, "debug-http": 18005}
    return [
        "serve", f"--config-path={config}", f"--kubeconfig={plane.kubeconfig(GATEWAY)}", "--insecure",
        f"--xds-address={HERE}", f"--xds-port={XDS_PORT}", "--disable-leader-election",
        *(f"--{name}-address={HERE}" for name in ports if name != "http"),
        *(f"--{name}-port={port}" for name, port in ports.items()), f"--http-address={HERE}",
        f"--envoy-service-http-address={HERE}", f"--envoy-service-https-address={HERE}",
        *(f"--disable-feature={name}" for name in PLAIN),
    ]  # fmt: skip


def envoy_flags(plane: Plane, folder: Path) -> list[str]:
    bootstrap = folder / "envoy.json"
    made = plane.children.start(
        "contour-bootstrap",
        [
            programs.find(programs.CONTOUR), "bootstrap", f"--xds-address={HERE}", f"--xds-port={XDS_PORT}",
            f"--admin-address={folder}/admin.sock", bootstrap,
        ],
        {},
    )  # fmt: skip
    assert made.process.wait(30) == 0, made.last_lines()
    return [
        "-c", str(bootstrap), "--service-cluster", "tests", "--service-node", "tests", "--concurrency", "1",
        "--disable-hot-restart", "-l", "warn",  # which shares memory with whatever Envoy has the same number
    ]  # fmt: skip


def programmed(plane: Plane) -> bool:
    gateway: Object = plane.client.read("gateways", SPACE, "public")
    return any(
        one["type"] == "Programmed" and one["status"] == "True"
        for one in gateway.get("status", {}).get("conditions", [])
    )


if __name__ == "__main__":
    programs.build_missing(programs.GATEWAY)
    gateway_definitions()
