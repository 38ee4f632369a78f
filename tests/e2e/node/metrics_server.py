"""metrics-server as a process of the node: what it makes known and may do is in its own manifests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.control_plane import programs
from tests.control_plane.commands import callers, flags
from tests.control_plane.users import write_kubeconfig
from tests.e2e.node.node import Node

NAME, HOME = "metrics-server", "kube-system"
REGISTERED = "v1beta1.metrics.k8s.io"
PORT = 4443
SHORTEST = "10s"  # it takes no less between two looks at the kubelet


@contextmanager
def running(node: Node, folder: Path) -> Iterator[None]:
    """It serves `metrics.k8s.io`, until the end; what it knows of a pod comes after two looks at the kubelet."""
    plane = node.plane
    plane.install(*manifests())
    plane.client.apply({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": NAME, "namespace": HOME, "labels": {"kubernetes.io/service-name": NAME}},
        "endpoints": [{"addresses": [node.address]}], "ports": [{"name": "https", "port": PORT}],
    })  # fmt: skip
    child = plane.children.start(NAME, [programs.find(programs.METRICS_SERVER), *command(node, folder)], {})
    try:
        node.kubectl("wait", "--for=condition=Available", f"apiservice/{REGISTERED}", "--timeout=50s")
        yield
    finally:
        plane.client.delete("apiservices", "", REGISTERED)  # no namespace can go while one is there that nobody serves
        child.stop()


def manifests() -> list[Path]:
    """The files of all but its Deployment; they are fetched if they have to be."""
    module = programs.module_folder(NAME, programs.METRICS_SERVER.requires)
    return [module / f"manifests/base/{part}.yaml" for part in ("rbac", "service", "apiservice")]


def command(node: Node, folder: Path) -> list[str]:
    """As its manifest has it, with a quick look at the kubelet, whose certificate it checks."""
    place = node.plane.place
    token = node.plane.client.token(HOME, NAME)
    kubeconfig = write_kubeconfig(folder / f"{NAME}.kubeconfig", place.url, place.pki.ca, token)
    return [
        *flags({
            **callers(kubeconfig),
            "bind-address": node.address,
            "secure-port": PORT,
            "cert-dir": folder,
            "kubelet-certificate-authority": place.pki.ca,
            "kubelet-preferred-address-types": "InternalIP",
            "kubelet-request-timeout": "5s",
            "metric-resolution": SHORTEST,
        }),
        "--kubelet-use-node-status-port",
    ]  # fmt: skip
