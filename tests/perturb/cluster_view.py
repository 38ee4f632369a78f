"""What a cluster holds of one deployment, as one value: what invariants compare, and stories ask about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from tests.fakes.behaviours import addresses
from tests.fakes.cluster import FakeCluster
from tests.fakes.fields import Object
from tests.fakes.kubelet import is_over
from tests.fakes.selectors import label_selector

from tidegate.api.status import ModelDeploymentStatus
from tidegate.cluster.api import Key
from tidegate.plan.manifests.front import routed_by
from tidegate.plan.manifests.identity import (
    ANNOTATION_STABLE,
    DEPLOYMENT,
    LABEL_DEPLOYMENT,
    LABEL_REVISION,
    MODEL_DEPLOYMENT,
    POD,
    SERVICE,
    controller_of,
)
from tidegate.plan.manifests.pods import HTTP_PORT
from tidegate.plan.replicas import FULL

from .cluster_reading import all_of, held, parsed, serves


@lru_cache(maxsize=512)
def status_in(text: bytes) -> ModelDeploymentStatus:
    return ModelDeploymentStatus.model_validate(parsed(text).get("status") or {})


@dataclass(frozen=True, slots=True)
class View:
    """Of the deployment `owner` (None: there is none, or it is being deleted) what there is at a moment."""

    owner: Object | None = None
    status: ModelDeploymentStatus = field(default_factory=ModelDeploymentStatus)
    front: Object | None = None
    deployments: Mapping[str, Object] = field(default_factory=dict)  # by revision, not those being removed
    pods: tuple[Object, ...] = ()  # that serve or may come to

    @property
    def split(self) -> dict[str, int]:
        """Weights above zero by revision; of two that share, those that the status gives them, and never nothing."""
        routed, stable, candidate = routed_by(self.front), self.status.stable, self.status.candidate
        if stable and candidate and routed == {stable.revision, candidate.revision}:
            weight = min(max(candidate.weight, 1), FULL - 1)
            return {stable.revision: FULL - weight, candidate.revision: weight}
        return dict.fromkeys(routed, FULL // len(routed)) if routed else {}

    @property
    def marker(self) -> str:
        """The stable revision, as the front says."""
        return str(((self.front or {}).get("metadata", {}).get("annotations") or {}).get(ANNOTATION_STABLE, ""))

    @property
    def uid(self) -> str:
        return str(self.owner["metadata"]["uid"]) if self.owner else ""

    def ready(self, revision: str) -> int:
        return sum(1 for pod in self.pods if revision_of(pod) == revision and serves(pod))

    def replicas(self, revision: str) -> int:
        found = self.deployments.get(revision)
        return int(found["spec"]["replicas"]) if found else 0

    @property
    def reached(self) -> int:
        """Ready pods behind the front's port."""
        spec = (self.front or {}).get("spec", {})
        if not any(port["port"] == HTTP_PORT for port in spec.get("ports") or ()):
            return 0
        selects = label_selector({"matchLabels": spec.get("selector")})
        return sum(1 for pod in self.pods if selects(pod["metadata"].get("labels") or {}) and serves(pod))

    @property
    def versions(self) -> dict[str, str]:
        """Version by revision, of what runs."""
        return {name: version_in(one["spec"]["template"]["spec"]) for name, one in self.deployments.items()}


def view_of(cluster: FakeCluster, key: Key) -> View:
    owner = held(cluster, MODEL_DEPLOYMENT, key)
    if owner is None or parsed(owner)["metadata"].get("deletionTimestamp"):
        return View()
    uid = str(parsed(owner)["metadata"]["uid"])
    front = held(cluster, SERVICE, key)
    ours = front is not None and controller_of(parsed(front)).get("uid") == uid
    servers = [one for one in all_of(cluster, DEPLOYMENT, key[0]) if controller_of(one).get("uid") == uid]
    return View(
        owner=parsed(owner),
        status=status_in(owner),
        front=parsed(front) if front and ours else None,
        deployments={revision_of(one, key): one for one in servers if not one["metadata"].get("deletionTimestamp")},
        pods=tuple(living(all_of(cluster, POD, key[0]), key[1])),
    )


def living(pods: Iterable[Object], name: str) -> Iterator[Object]:
    for pod in pods:
        ours = (pod["metadata"].get("labels") or {}).get(LABEL_DEPLOYMENT) == name
        if ours and not is_over(pod) and not pod["metadata"].get("deletionTimestamp"):
            yield pod


def revision_of(obj: Object, key: Key | None = None) -> str:
    """By its label; of a child whose key is given by its name, for anybody may edit a label."""
    if key is not None:
        return str(obj["metadata"]["name"]).removeprefix(f"{key[1]}-")
    return str((obj["metadata"].get("labels") or {}).get(LABEL_REVISION, ""))


def version_in(spec: Object) -> str:
    return next((uri.rpartition("/")[2] for uri in addresses(spec)), "")
