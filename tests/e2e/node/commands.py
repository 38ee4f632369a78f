"""How the parts of a node are started: what differs from a control plane without one, and the files they read."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from tests.control_plane import commands as plane_commands
from tests.control_plane.commands import Place, flags, written
from tests.control_plane.users import KUBE_PROXY, KUBELET
from tests.e2e.containerd import taken_over
from tests.e2e.node import pause

NODE = KUBELET.name.rpartition(":")[2]
KUBELET_PORT = 10250


def api_server(place: Place) -> list[str]:
    return plane_commands.api_server(place, {
        "authorization-mode": "Node,RBAC",
        "endpoint-reconciler-type": "lease",  # pods reach it as `kubernetes.default`
        "kubelet-client-certificate": place.pki.kubelet_client,
        "kubelet-client-key": place.pki.kubelet_client_key,
        "kubelet-certificate-authority": place.pki.ca,
        "kubelet-preferred-address-types": "InternalIP",
    })  # fmt: skip


def controllers(place: Place) -> list[str]:
    return plane_commands.controllers(place, {"controllers": "*"})


def containerd(place: Place, imported: Path) -> list[str | Path]:
    """One that has the images of another's folder from the beginning."""
    home, plugins = place.folder / "containerd", place.folder / "cni"
    for folder in (home, plugins):
        folder.mkdir()
    taken_over(imported, home / "root")
    # A route to each pod instead of a bridge: what a Service sends back to the same node passes by the node's NAT.
    network = {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipam": {
                "type": "host-local", "dataDir": str(home / "addresses"), "routes": [{"dst": "0.0.0.0/0"}],
                "subnet": place.network.at(0, 0) + "/24",
            },
        }],
    }  # fmt: skip
    written(plugins / "pods.conflist", network)
    config = home / "config.toml"
    config.write_text(f"""\
version = 2
root = "{home}/root"
state = "{home}/state"
[debug]
  level = "warn"
[grpc]
  address = "{socket(place)}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{home}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause.NAME}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{plugins}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
""")
    return ["containerd", "--config", config]


def socket(place: Place) -> Path:
    return place.folder / "containerd/containerd.sock"


def kubelet(place: Place) -> list[str]:
    home, names = place.folder / "kubelet", place.folder / "resolv.conf"
    names.write_text("")  # there is no DNS in here
    config: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": place.network.node,
        "port": KUBELET_PORT,
        "readOnlyPort": 0,
        "failCgroupV1": False,
        "failSwapOn": False,
        "cgroupDriver": "cgroupfs",
        "containerRuntimeEndpoint": f"unix://{socket(place)}",
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": str(place.pki.ca)}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(place.pki.server),
        "tlsPrivateKeyFile": str(place.pki.server_key),
        "resolvConf": str(names),
        "podLogsDir": str(home / "logs"),
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "nodeStatusUpdateFrequency": "1s",  # how soon a plugin's devices are seen; it is written when it has changed
        "nodeStatusReportFrequency": "5m",
        "crashLoopBackOff": {"maxContainerRestartPeriod": "5s"},  # a node of one's own may be less patient than 5 min
        "maxPods": 60,
    }  # fmt: skip
    return flags({
        "config": written(place.folder / "kubelet.json", config),
        "kubeconfig": place.kubeconfig(KUBELET.name, KUBELET.token),
        "root-dir": home,
        "cert-dir": home / "pki",
        "hostname-override": NODE,
        "node-ip": place.network.node,
    })  # fmt: skip


def kube_proxy(place: Place) -> list[str]:
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(place.kubeconfig(KUBE_PROXY.name, KUBE_PROXY.token))},
        "clusterCIDR": place.network.at(0, 0) + "/24",
        "hostnameOverride": NODE,
        "mode": "iptables",
        # These are the machine's, not ours to change.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
    return flags({"config": written(place.folder / "kube-proxy.json", config)})


def ctr(place: Place, *words: str | Path) -> str:
    """A command of containerd's client; what it says."""
    done = subprocess.run(
        ["ctr", "--address", socket(place), "--namespace", "k8s.io", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"ctr {' '.join(map(str, words))}: {done.stderr}{done.stdout}")
    return done.stdout
