"""`tidegate operator` as a process against a control plane, and a namespace as its user sees it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.control_plane.audit import Mark
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.control_plane.simulation import MODE, REAL
from tests.control_plane.statuses import Ended
from tests.control_plane.users import OPERATOR, User
from tests.waiting import wait_until

TIDEGATE = str(Path(sys.executable).with_name("tidegate"))
RIGHTS = Path(__file__).parents[2] / "charts/tidegate/files/rights.yaml"
HOME = "tidegate"  # the operator's namespace
NAME = "tidegate-operator"
IMAGE = "registry.example.com/tidegate-runtime:test"
PATIENCE = 30.0
QUICK = {"interval": "1s", "warmup": "0s", "minRequests": 1, "confidence": 0}
GROUP = "serving.tidegate.io"


def cluster_rules(rights: Object) -> list[Object]:
    """All that the chart can give for the whole cluster."""
    return [rule for part in ("models", "cluster", "keda", "metricsApi") for rule in rights[part]]


def grant(plane: Plane, *users: User) -> None:
    """The operator's home, its rights as the chart gives them, and the account that servers know."""
    if plane.client.get("namespaces", "", HOME) is None:
        plane.client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}})
    rights = yaml.safe_load(RIGHTS.read_text())
    group = "rbac.authorization.k8s.io"
    subjects = [{"apiGroup": group, "kind": "User", "name": user.name} for user in users or (OPERATOR,)]
    for kind, about, rules in (
        ("ClusterRole", {"name": NAME}, cluster_rules(rights)),
        ("Role", {"name": NAME, "namespace": HOME}, rights["lease"] + rights["metricsApiHome"]),
    ):
        role = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": about, "rules": rules}
        plane.client.apply(role)
        plane.client.apply({
            "apiVersion": f"{group}/v1", "kind": f"{kind}Binding", "metadata": about,
            "roleRef": {"apiGroup": group, "kind": kind, "name": NAME}, "subjects": subjects,
        })  # fmt: skip
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "operator", "namespace": HOME}}
    plane.client.apply(account)


@dataclass
class Operator:
    """One process; `log` is what it said."""

    plane: Plane
    folder: Path
    flags: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    log: Path = field(init=False)
    started: Mark = field(init=False)  # in the audit log
    program: tuple[str, ...] = (TIDEGATE,)
    user: User = OPERATOR
    account: tuple[str, str] = (HOME, "operator")  # that servers know it by

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "operator.log"

    def start(self, *flags: str) -> Operator:
        token = self.folder / "token"
        if not token.exists():  # a second start may be one while the API server is away
            token.write_text(self.plane.client.token(*self.account, "tidegate"))
        command = [
            *self.program, "operator", "--kubeconfig", str(self.plane.kubeconfig(self.user)), "--runtime-image", IMAGE,
            "--probe-host", "127.0.0.1", "--probe-port", "0", "--lease-namespace", HOME, "--token-file", str(token),
            *self.flags, *flags,
        ]  # fmt: skip
        self.started = self.plane.audit.mark()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log)
        return self

    def leads(self) -> Operator:
        """Wait until it works."""
        self.until(lambda: self.said("everything is at hand"), "it leads")
        return self

    def said(self, words: str) -> bool:
        return any(words in line.get("message", "") for line in self.lines())

    def lines(self) -> list[dict[str, Any]]:
        found = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(line) for line in found if line.startswith("{")]

    def until(self, look: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
        def looked() -> Any:
            assert self.process is None or self.process.poll() in (None, 0, -signal.SIGKILL), self.log.read_text()[
                -4000:
            ]
            return look() or None

        return wait_until(looked, lambda: f"{what}\n{self.log.read_text()[-4000:]}", seconds)

    def port(self) -> int:
        """Of the probes."""
        line = self.until(lambda: [one for one in self.lines() if "probes and metrics on" in one["message"]], "a port")
        return int(line[-1]["message"].split("port ")[1].split(",")[0])

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port()}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def is_ready(self) -> bool:
        """Whether it has seen everything, leading or not."""
        try:
            return self.page("/readyz") == "caches: ok\n"
        except OSError:  # 503 too
            return False

    def figures(self) -> dict[str, float]:
        """Its metrics, each by its name and labels."""
        lines = (line for line in self.page("/metrics").splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def reconciles(self) -> int:
        """How often it has looked at a deployment, whichever."""
        return int(sum(value for name, value in self.figures().items() if name.startswith("tidegate_reconciles_total")))

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(timeout=20)

    def close(self) -> None:
        """In order, so that whoever comes next need not wait for the lease to run out; by force if it must be."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=12)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=20)


@dataclass
class Site:
    """A namespace and the deployment `fraud` in it."""

    plane: Plane
    namespace: str
    store: Path | None = None
    name: str = "fraud"

    def manifest(self, version: str = "v1", *, real: bool = True, **spec: Any) -> Object:
        runtime = {"resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}}
        runtime |= spec.pop("runtime", {})
        notes = {MODE: REAL} if real else {}
        runtime["pod"] = {"annotations": notes} | runtime.get("pod", {})
        rollout = {"steps": [{"weight": 50, "hold": "1s"}], "scaleDownDelay": "0s", "analysis": QUICK}
        return {
            "apiVersion": f"{GROUP}/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "bundle": {"uri": f"pvc://models/{version}"},
                "runtime": runtime,
                "rollout": rollout | spec.pop("rollout", {}),
                **spec,
            },
        }

    def apply(self, version: str = "v1", **spec: Any) -> Object:
        return self.plane.client.apply(self.manifest(version, **spec), manager="a-person")

    def simulate(self, version: str = "v1", **spec: Any) -> Object:
        """The same with a bundle that nobody reads and servers that are simulated; see `resolves`."""
        bundle = {"uri": f"s3://models/{version}", **spec.pop("bundle", {})}
        return self.apply(version, real=False, bundle=bundle, **spec)

    def mount(self, store: Path) -> None:
        """A claim `models` whose volume is a folder of this machine."""
        capacity = {"storage": "1Gi"}
        volume = f"models-of-{self.namespace}"
        common: Object = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
        self.plane.client.create({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
            "spec": {**common, "capacity": capacity, "hostPath": {"path": str(store)}},
        })  # fmt: skip
        self.plane.client.create({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "models", "namespace": self.namespace},
            "spec": {**common, "resources": {"requests": capacity}, "volumeName": volume},
        })  # fmt: skip
        self.plane.client.until(
            "persistentvolumeclaims", self.namespace, "models", lambda one: one["status"].get("phase") == "Bound"
        )

    def get(self) -> Object:
        return self.plane.client.read("modeldeployments", self.namespace, self.name)

    def until(self, holds: Callable[[Object], Any], seconds: float = PATIENCE) -> Object:
        return self.plane.client.until("modeldeployments", self.namespace, self.name, holds, seconds)

    def until_serving(self, version: str, seconds: float = PATIENCE) -> Object:
        return self.until(lambda one: serves(one, version) and condition(one, "Promoted") == "True", seconds)

    def until_reason(self, kind: str, reason: str, seconds: float = PATIENCE) -> Object:
        """Wait for a condition's reason."""
        return self.until(lambda one: fact(one, kind).get("reason") == reason, seconds)

    def command(self, verb: str, value: str) -> None:
        note = {"metadata": {"annotations": {f"{GROUP}/{verb}": value}}}
        self.plane.client.patch("modeldeployments", self.namespace, self.name, note)

    def front(self) -> Object:
        return self.plane.client.read("services", self.namespace, self.name)

    def children(self, plural: str) -> list[Object]:
        selector = f"{GROUP}/deployment={self.name}"
        return self.plane.client.list(plural, self.namespace, selector)

    def servers(self) -> list[Object]:
        return [pod for pod in self.children("pods") if f"{GROUP}/revision" in pod["metadata"]["labels"]]

    def endpoints(self) -> list[str]:
        """Addresses of the ready pods that the front Service selects: where a cluster's network would send a request."""
        selector = self.front()["spec"]["selector"]
        pods = self.plane.client.list("pods", self.namespace, ",".join(f"{k}={v}" for k, v in selector.items()))
        return [pod["status"]["podIP"] for pod in pods if ready(pod) and not pod["metadata"].get("deletionTimestamp")]

    def events(self) -> list[str]:
        found = self.plane.client.request("GET", f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events")
        return [one["reason"] for one in found["items"] if one.get("reportingController") == f"{GROUP}/operator"]


def fact(deployment: Object, kind: str) -> Mapping[str, Any]:
    """One condition."""
    conditions = (deployment.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind), {})


def condition(deployment: Object, kind: str) -> str:
    return str(fact(deployment, kind).get("status", ""))


def serves(deployment: Object, version: str) -> bool:
    stable = (deployment.get("status") or {}).get("stable") or {}
    return stable.get("version") == version and condition(deployment, "Ready") == "True"


def weight(deployment: Object) -> int:
    return int(((deployment.get("status") or {}).get("candidate") or {}).get("weight", -1))


def ready(pod: Object) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))


def resolves(**bundles: Object) -> Callable[[Object], Ended]:
    """Answers of resolve Jobs without running them: by the last part of the address, over a sound bundle's answer."""

    def answer(pod: Object) -> Ended:
        uri = next(word for word in pod["spec"]["containers"][0]["args"] if "://" in word)
        version = uri.rsplit("/", 1)[1]
        if "reason" in bundles.get(version, {}):
            return Ended(1, json.dumps(bundles[version]))
        return Ended(0, json.dumps(resolution(uri, version) | bundles.get(version, {})))

    return answer


def resolution(uri: str, version: str) -> Object:
    digest = f"sha256:{version.encode().hex():0>64}"[:71]
    tensor = {"name": "x", "type": "FP32", "shape": ["batch", 4]}
    return {
        "apiVersion": "tidegate.io/resolution/v1", "uri": uri, "digest": digest, "name": "fraud", "version": version,
        "signature": "Missing", "golden": 1, "files": 2, "bytes": 100, "interfaceDigest": "0" * 64, "metrics": {},
        "labels": [], "interface": {"inputs": [tensor], "outputs": [{**tensor, "name": "y"}]},
    }  # fmt: skip
