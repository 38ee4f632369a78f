"""How each program of the control plane is started: its flags, and the files it reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.control_plane.network import Network
from tests.control_plane.pki import FRONT_PROXY, Pki
from tests.control_plane.users import CONTROLLERS, KUBE_PROXY, KUBELET, KWOK, SCHEDULER, USERS, write_kubeconfig

API_PORT = 6443
ETCD_PORT = 2379
CONTROLLERS_PORT = 10257
SCHEDULER_PORT = 10259
ISSUER = "https://kubernetes.default.svc"
SERVICES = "10.96.0.0/16"
KEYS = ["/.well-known/openid-configuration", "/openid/v1/jwks"]  # of service accounts' tokens
COMPONENTS = [user.name for user in (CONTROLLERS, SCHEDULER, KWOK, KUBELET, KUBE_PROXY)]
# Leases and probes would be most of the log; what the cluster's own parts read interests nobody.
AUDIT_POLICY: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "nonResourceURLs": KEYS},
        {"level": "None", "nonResourceURLs": ["*"]},
        {"level": "None", "users": ["system:apiserver"]},
        {"level": "None", "namespaces": ["kube-node-lease"]},
        {"level": "None", "verbs": ["get", "list", "watch"], "users": COMPONENTS},
        {
            "level": "None",
            "verbs": ["get", "list", "watch"],
            "userGroups": ["system:serviceaccounts:kube-system"],
        },
        {"level": "Metadata"},
    ],
}
# Tests of scaling and of failing pods should wait for our code, not for Kubernetes' patience.
QUICK_CONTROLLERS = {
    "kube-api-qps": 500,
    "kube-api-burst": 1000,
    "concurrent-deployment-syncs": 10,
    "concurrent-replicaset-syncs": 10,
    "concurrent-job-syncs": 10,
    "concurrent-gc-syncs": 40,
    "concurrent-namespace-syncs": 20,
    "namespace-sync-period": "5s",
    "horizontal-pod-autoscaler-sync-period": "1s",
    "horizontal-pod-autoscaler-downscale-stabilization": "3s",
    "horizontal-pod-autoscaler-initial-readiness-delay": "0s",
    "horizontal-pod-autoscaler-cpu-initialization-period": "1s",
}
# No EndpointSlice may hold a loopback address: where pods have those, these would only try again and again.
WITHOUT_ENDPOINTS = "*,-endpoints-controller,-endpointslice-controller,-endpointslice-mirroring-controller"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a control plane lives: its files and its network."""

    folder: Path
    network: Network
    pki: Pki

    @property
    def url(self) -> str:
        return f"https://{self.network.api}:{API_PORT}"

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    def kubeconfig(self, user: str, token: str) -> Path:
        """The kubeconfig of a user, written once."""
        path = self.folder / f"{user.replace(':', '-')}.kubeconfig"
        if not path.exists():
            write_kubeconfig(path, self.url, self.pki.ca, token)
        return path


def flags(settings: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in settings.items()]


def etcd(place: Place) -> list[str]:
    client, peer = (f"http://{place.network.etcd}:{port}" for port in (ETCD_PORT, ETCD_PORT + 1))
    return [
        *flags({
            "data-dir": place.folder / "etcd",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "log-level": "warn",
        }),
        "--unsafe-no-fsync",
    ]  # fmt: skip


def api_server(place: Place, more: Mapping[str, object] | None = None) -> list[str]:
    """`more` replaces and adds flags."""
    tokens = place.folder / "tokens.csv"
    tokens.write_text("".join(f'{user.token},{user.name},{user.name},"{",".join(user.groups)}"\n' for user in USERS))
    tokens.chmod(0o600)
    policy = written(place.folder / "audit-policy.json", AUDIT_POLICY)
    pki = place.pki
    return flags({
        "etcd-servers": f"http://{place.network.etcd}:{ETCD_PORT}",
        "bind-address": place.network.api,
        "advertise-address": place.network.api,
        "secure-port": API_PORT,
        # The endpoints of `kubernetes.default` cannot hold a loopback address.
        "endpoint-reconciler-type": "none",
        "tls-cert-file": pki.server,
        "tls-private-key-file": pki.server_key,
        "client-ca-file": pki.ca,
        "token-auth-file": tokens,
        "authorization-mode": "RBAC",
        "allow-privileged": "true",
        "service-cluster-ip-range": SERVICES,
        "service-account-issuer": ISSUER,
        "service-account-key-file": pki.accounts,
        "service-account-signing-key-file": pki.accounts,
        "requestheader-client-ca-file": pki.ca,
        "requestheader-allowed-names": FRONT_PROXY,
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-username-headers": "X-Remote-User",
        "proxy-client-cert-file": pki.front_proxy,
        "proxy-client-key-file": pki.front_proxy_key,
        "enable-aggregator-routing": "true",
        "audit-policy-file": policy,
        "audit-log-path": place.audit_log,
        "audit-log-mode": "blocking",  # a request that is answered is in the log
        "audit-log-maxsize": 4096,
        **(more or {}),
    })  # fmt: skip


def controllers(place: Place, more: Mapping[str, object] | None = None) -> list[str]:
    return flags({
        **callers(place.kubeconfig(CONTROLLERS.name, CONTROLLERS.token)),
        **serving(place, place.network.controllers, CONTROLLERS_PORT),
        "leader-elect": "false",
        "use-service-account-credentials": "true",
        "service-account-private-key-file": place.pki.accounts,
        "root-ca-file": place.pki.ca,
        "cluster-signing-cert-file": place.pki.ca,
        "cluster-signing-key-file": place.pki.ca_key,
        "service-cluster-ip-range": SERVICES,
        "allocate-node-cidrs": "false",
        "flex-volume-plugin-dir": place.folder / "flexvolume",  # else it makes a folder under /usr
        # After a long outage nodes look dead until they are heard of, and nobody says of simulated pods that they live.
        "node-monitor-grace-period": "1h",
        **QUICK_CONTROLLERS,
        "controllers": "*" if place.network.pods else WITHOUT_ENDPOINTS,
        **(more or {}),
    })  # fmt: skip


def scheduler(place: Place) -> list[str]:
    kubeconfig = place.kubeconfig(SCHEDULER.name, SCHEDULER.token)
    config = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"kubeconfig": str(kubeconfig), "qps": 500, "burst": 1000},
        "podInitialBackoffSeconds": 1,
        "podMaxBackoffSeconds": 2,
    }
    allowed = callers(kubeconfig)
    del allowed["kubeconfig"]
    return flags({
        "config": written(place.folder / "scheduler.json", config),
        **allowed,
        **serving(place, place.network.scheduler, SCHEDULER_PORT),
    })  # fmt: skip


def kwok(place: Place, stages: list[dict[str, Any]]) -> list[str]:
    config = place.folder / "stages.yaml"
    config.write_text("\n---\n".join(json.dumps(stage) for stage in stages))
    return [
        *flags({
            "kubeconfig": place.kubeconfig(KWOK.name, KWOK.token),
            "config": config,
            "cidr": place.network.simulated_pods,
            "node-ip": place.network.node,
            "node-lease-duration-seconds": 40,
            "v": "WARN",
        }),
        "--manage-all-nodes",
    ]  # fmt: skip


def callers(kubeconfig: Path) -> dict[str, object]:
    names = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    return dict.fromkeys(names, kubeconfig)


def serving(place: Place, address: str, port: int) -> dict[str, object]:
    return {
        "bind-address": address,
        "secure-port": port,
        "tls-cert-file": place.pki.server,
        "tls-private-key-file": place.pki.server_key,
    }


def written(path: Path, document: Mapping[str, Any]) -> Path:
    """A file of JSON, which the programs read as the YAML that it is."""
    path.write_text(json.dumps(document))
    return path
