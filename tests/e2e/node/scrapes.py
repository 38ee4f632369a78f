"""Prometheus as a process of the node, which finds the servers by asking Kubernetes, as the chart's PodMonitor says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.control_plane import programs, prometheus
from tests.control_plane.resources import Object
from tests.control_plane.users import write_kubeconfig
from tests.e2e.node.node import RBAC, Node

NAME, HOME = "prometheus", "monitoring"
# What the Prometheus operator writes for every PodMonitor: queries and evidence go by these labels.
NAMED = {"namespace": "namespace", "pod_name": "pod", "pod_container_name": "container"}


@contextmanager
def running(node: Node, folder: Path, monitor: Object) -> Iterator[str]:
    """The address, for pods too, of one that scrapes what the PodMonitor selects, every second."""
    account = {"name": NAME, "namespace": HOME}
    reads = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    objects: list[Object] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
        {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": NAME}, "rules": [reads]},
        {
            "apiVersion": f"{RBAC}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": NAME},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", **account}],
        },
    ]  # fmt: skip
    for one in objects:
        node.plane.client.apply(one)
    place = node.plane.place
    kubeconfig = write_kubeconfig(
        folder / f"{NAME}.kubeconfig", place.url, place.pki.ca, node.plane.client.token(HOME, NAME)
    )
    program = programs.find(prometheus.DISCOVERING)
    with prometheus.running(program, folder / NAME, job(monitor, kubeconfig), host=node.address) as address:
        yield address


def job(monitor: Object, kubeconfig: Path) -> dict[str, Any]:
    """What the Prometheus operator makes of a PodMonitor with one port."""
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    wanted = {f"pod_label_{name}": value for name, value in monitor["spec"]["selector"]["matchLabels"].items()}
    wanted["pod_container_port_name"] = endpoint["port"]
    keep = [{"action": "keep", "source_labels": [meta(name)], "regex": value} for name, value in wanted.items()]
    named = [{"source_labels": [meta(name)], "target_label": label} for name, label in NAMED.items()]
    return {
        "job_name": monitor["metadata"]["name"],
        "metrics_path": endpoint["path"],
        "kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": str(kubeconfig)}],
        "relabel_configs": [*keep, *named],
    }


def meta(name: str) -> str:
    return "__meta_kubernetes_" + re.sub(r"\W", "_", name)
