"""A real API server without an operator: what it answers a person, and a status that a test writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.control_plane.fixtures import api_server, pytest_collection_finish
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.control_plane.users import STRANGER

from tidegate.cli.main import main

__all__ = ["api_server", "pytest_collection_finish"]
Kubectl = Callable[..., tuple[int, str, str]]
GROUP = "serving.tidegate.io"
AT = "2026-11-26T05:00:00Z"
STABLE = {
    "revision": "930f7e290c", "number": 1, "version": "1.4.0", "digest": "sha256:" + "a" * 64, "weight": 60,
    "replicas": 3, "readyReplicas": 3,
}  # fmt: skip
CANDIDATE = {
    "revision": "3f6f694c2a", "number": 2, "version": "1.5.0", "digest": "sha256:" + "b" * 64, "weight": 40,
    "realisedWeight": 40.0, "replicas": 2, "readyReplicas": 2,
}  # fmt: skip
READY = {"type": "Ready", "status": "True", "reason": "Serving", "message": "version 1.4.0", "lastTransitionTime": AT}
HOLDING: Object = {
    "phase": "Holding",
    "observedGeneration": 1,
    "stable": STABLE,
    "candidate": CANDIDATE,
    "conditions": [READY],
    "rollout": {
        "phase": "Holding", "step": 1, "weight": 40, "holdReason": "WaitingForPromote",
        "holdMessage": "step 1 ends by `tidegate promote`",
        "checks": [{"name": "errors", "verdict": "pass", "message": "error rate 0 % (limit 1 %), 2,170 requests"}],
        "measurements": {"stable": {"requests": 526, "rps": 5.8, "errorRate": 0.0, "p50Ms": 0.43, "p99Ms": 6.6}},
    },
    "history": [{"revision": "930f7e290c", "number": 1, "version": "1.4.0", "outcome": "Promoted", "at": AT}],
}  # fmt: skip


@dataclass(frozen=True)
class Site:
    """A namespace, as its admin and whoever looks at it."""

    plane: Plane
    namespace: str
    folder: Path

    def deploy(self, name: str = "fraud", status: Mapping[str, Any] | None = HOLDING) -> Object:
        meta = {"name": name, "namespace": self.namespace}
        spec = {"bundle": {"uri": "s3://models/fraud/1"}, "rollout": {"steps": [{"weight": 40, "hold": "manual"}]}}
        made = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "ModelDeployment", "metadata": meta, "spec": spec}
        self.plane.client.create(made)
        return self.says(status, name) if status else made

    def says(self, status: Mapping[str, Any], name: str = "fraud") -> Object:
        """The operator's part, played by the test."""
        meta = {"name": name, "namespace": self.namespace}
        identity = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "ModelDeployment", "metadata": meta}
        return self.plane.client.patch_status(identity, status)

    def pod(self, revision: str, number: int) -> None:
        labels = {f"{GROUP}/deployment": "fraud", f"{GROUP}/revision": revision}
        meta = {"name": f"fraud-{revision}-{number}", "namespace": self.namespace, "labels": labels}
        containers = [{"name": "server", "image": "x"}]
        self.plane.client.create(
            {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": containers}}
        )

    def annotations(self, name: str = "fraud") -> dict[str, str]:
        found = self.plane.client.read("modeldeployments", self.namespace, name)
        return dict(found["metadata"].get("annotations") or {})

    def annotate(self, verb: str, value: str, name: str = "fraud") -> None:
        change = {"metadata": {"annotations": {f"{GROUP}/{verb}": value}}}
        self.plane.client.patch("modeldeployments", self.namespace, name, change)

    def grant(self, *rules: Object) -> None:
        """Rights of the stranger in this namespace, and no others."""
        group = "rbac.authorization.k8s.io"
        meta = {"name": "stranger", "namespace": self.namespace}
        self.plane.client.apply({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": list(rules)})
        self.plane.client.apply({
            "apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": meta,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "stranger"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": STRANGER.name}],
        })  # fmt: skip


@pytest.fixture
def site(api_server: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A namespace of its own, which the kubeconfig of whoever asks names."""
    found = Site(api_server, api_server.new_namespace(), tmp_path)
    path = api_server.client.kubeconfig(tmp_path / "kubeconfig", found.namespace)
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield found


@pytest.fixture
def kubectl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Kubectl:
    """Runs `kubectl tidegate …`; gives its exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["kubectl-tidegate", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def stranger(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The same namespace for somebody who has only the rights that the test gives."""
    path = site.plane.client_of(STRANGER).kubeconfig(site.folder / "stranger", site.namespace)
    monkeypatch.setenv("KUBECONFIG", str(path))
    return site


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No operator will come: half a second is enough to know."""
    monkeypatch.setattr("tidegate.cluster.kubectl.acts.TAKEN_SECONDS", 0.5)
