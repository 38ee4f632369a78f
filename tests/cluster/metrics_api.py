"""What tests of external metrics need: what the chart makes for them, and pods that count as they are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.cluster.operating import HOME, Site, ready
from tests.control_plane.network import outer_address
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.waiting import wait_until

from tidegate.cluster.metrics_api.registration import NAME, PORT, PORT_NAME, REGISTERED
from tidegate.plan.load import MEASURES

GROUP = "/apis/external.metrics.k8s.io/v1beta1"
PAGE = """# TYPE tidegate_requests_total counter
tidegate_requests_total{{model="fraud",code="200"}} {requests}
tidegate_queue_duration_seconds_sum{{model="fraud"}} {waited}
tidegate_queue_duration_seconds_count{{model="fraud"}} {requests}
tidegate_requests_in_flight{{model="fraud"}} 0
tidegate_start_time_seconds{{model="fraud"}} 1000
tidegate_request_duration_seconds_sum{{model="fraud",traffic="requests"}} {busy}
tidegate_request_duration_seconds_count{{model="fraud",traffic="requests"}} {requests}
tidegate_gpu_utilization{{model="fraud",gpu="0"}} 0.8
"""


def flags(address: str = "") -> tuple[str, ...]:
    """The operator's, at an address of this machine that the API server can be led to."""
    return ("--metrics-api-address", address or outer_address(), "--metrics-api-port", "0")


def enable(plane: Plane) -> None:
    """The Service and the ClusterRole, as the chart makes them with metricsApi.enabled."""
    ports = [{"name": PORT_NAME, "port": PORT, "targetPort": 8443}]
    rule = {"apiGroups": ["external.metrics.k8s.io"], "resources": [*MEASURES], "verbs": ["get", "list"]}
    plane.client.apply({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME, "namespace": HOME}, "spec": {"ports": ports},
    })  # fmt: skip
    plane.client.apply({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": NAME, "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}, "rules": [rule],
    })  # fmt: skip


def disable(plane: Plane) -> None:
    """As helm does it: what the operator has made goes with these."""
    plane.client.delete("clusterroles", "", NAME)
    plane.client.delete("services", HOME, NAME)
    plane.client.until_gone("apiservices", "", REGISTERED)
    wait_until(lambda: not plane.client.list("endpointslices", HOME), lambda: "the EndpointSlices go")


def asked(plane: Plane, namespace: str, metric: str, selector: str = "model=fraud") -> Object:
    """As `kubectl get --raw` asks."""
    return plane.client.request("GET", f"{GROUP}/namespaces/{namespace}/{metric}", query={"labelSelector": selector})


class Load:
    """Requests that all ready servers of a deployment share: so many in work at once, each of 0.1 s, half of it waiting."""

    def __init__(self, site: Site) -> None:
        self.in_work = 0.0
        self.silent: set[str] = set()  # addresses that do not answer
        self.over = threading.Event()
        self._site = site
        self._servers: dict[str, ThreadingHTTPServer] = {}
        self._busy: dict[str, float] = {}
        self._at = time.monotonic()
        self._turn = threading.Lock()

    def step(self, in_work: float) -> None:
        """From now on so many are in work."""
        with self._turn:
            self._count()
            self.in_work = in_work

    def follow(self) -> int:
        """Listen at the addresses of all ready pods; how many there are."""
        there = {pod["status"]["podIP"] for pod in self._site.servers() if ready(pod)}
        with self._turn:
            self._count()
            for address in there - self._servers.keys():
                self._busy[address] = 0.0
                self._servers[address] = server = ThreadingHTTPServer((address, 9090), self._handler(address))
                threading.Thread(target=server.serve_forever, daemon=True).start()
            for address in self._servers.keys() - there:
                self._close(address)
        return len(there)

    def close(self) -> None:
        self.over.set()
        for address in list(self._servers):
            self._close(address)

    def _close(self, address: str) -> None:
        server = self._servers.pop(address)
        server.shutdown()
        server.server_close()

    def _count(self) -> None:
        now = time.monotonic()
        for address in self._servers:
            self._busy[address] += (now - self._at) * self.in_work / len(self._servers)
        self._at = now

    def page(self, address: str) -> str:
        with self._turn:
            self._count()
            busy = self._busy[address]
        return PAGE.format(busy=busy, requests=round(busy * 10), waited=busy / 2)

    def _handler(self, address: str) -> type[BaseHTTPRequestHandler]:
        load = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if address in load.silent:
                    load.over.wait()
                    return
                content = load.page(address).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@contextmanager
def load_on(site: Site) -> Iterator[Load]:
    load = Load(site)
    try:
        yield load
    finally:
        load.close()
