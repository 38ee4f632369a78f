"""Who asks the API server in tests: a token and groups each, so that the audit log tells them apart."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class User:
    """A line of the API server's token file; without groups it may do only what RBAC objects say."""

    name: str
    groups: tuple[str, ...] = ()

    @property
    def token(self) -> str:
        return f"token-of-{self.name}"


ADMIN = User("admin", (MASTERS,))  # the test itself
PLAYER = User("player", (MASTERS,))  # writes the status of played pods
KWOK = User("kwok", (MASTERS,))
OPERATOR = User("operator")  # the operator under test, outside a cluster; its rights are what the test gives
SECOND_OPERATOR = User("operator-2")
STRANGER = User("stranger")
GATEWAY = User("gateway", (MASTERS,))  # a real gateway's controller
CONTROLLERS = User("system:kube-controller-manager")
SCHEDULER = User("system:kube-scheduler")
KUBELET = User("system:node:node-1", ("system:nodes",))
KUBE_PROXY = User("system:kube-proxy")
USERS = (
    ADMIN, PLAYER, KWOK, OPERATOR, SECOND_OPERATOR, STRANGER, GATEWAY, CONTROLLERS, SCHEDULER, KUBELET, KUBE_PROXY,
)  # fmt: skip


def write_kubeconfig(path: Path, server: str, ca: Path, token: str, namespace: str = "default") -> Path:
    """A kubeconfig with one context; JSON, which is YAML."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": {"server": server, "certificate-authority": str(ca)}}],
        "users": [{"name": "tests", "user": {"token": token}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests", "namespace": namespace}}],
        "current-context": "tests",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(document))
    return path
