"""Names, labels and ownership: how Tidegate's objects are told from all others, and which deployment they belong to.

A child's name says what it is and never changes, so it decides which revision a child is of; labels, which anybody can
edit, only find it.  What it belongs to is decided by the uid of its controller, never by a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.api import names

GROUP, VERSION, KIND, API_VERSION = names.GROUP, names.VERSION, names.KIND, names.API_VERSION
PLURAL = names.PLURAL
MANAGER = "tidegate"  # field manager of every write

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_COMPONENT = "app.kubernetes.io/component"  # of pods: what a Service may send requests to, and what not
LABEL_DEPLOYMENT = f"{GROUP}/deployment"
LABEL_REVISION = f"{GROUP}/revision"
ANNOTATION_STABLE = f"{GROUP}/stable"
ANNOTATION_ROUTED = f"{GROUP}/routed"  # of the front: the revisions that get requests
ANNOTATION_TEMPLATE = f"{GROUP}/template"  # hash of the pod template that was last written

SERVER, RESOLVER, NOBODY = "server", "resolve", "none"  # components; there is never a pod of the last
CANDIDATE = "candidate"  # where a revision stands in other names; no revision is called so
KEY_LENGTH = 10

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object as the API names it."""

    api_version: str
    kind: str
    plural: str


MODEL_DEPLOYMENT = Kind(API_VERSION, KIND, PLURAL)
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
CONTROLLER_REVISION = Kind("apps/v1", "ControllerRevision", "controllerrevisions")
SERVICE = Kind("v1", "Service", "services")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
POD = Kind("v1", "Pod", "pods")
JOB = Kind("batch/v1", "Job", "jobs")
AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
SCALED_OBJECT = Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects")  # where there is KEDA
BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
ENDPOINTS = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")  # of our Services, with their labels
GATEWAY_API = "gateway.networking.k8s.io/v1"
HTTP_ROUTE = Kind(GATEWAY_API, "HTTPRoute", "httproutes")
GRPC_ROUTE = Kind(GATEWAY_API, "GRPCRoute", "grpcroutes")

CHILD_KINDS = (DEPLOYMENT, SERVICE, JOB, AUTOSCALER, BUDGET, CONTROLLER_REVISION, CONFIG_MAP, NETWORK_POLICY)
ROUTE_KINDS = (HTTP_ROUTE, GRPC_ROUTE)  # children too, where the cluster has these kinds
_KINDS = {
    (kind.api_version, kind.kind): kind
    for kind in (*CHILD_KINDS, *ROUTE_KINDS, SCALED_OBJECT, POD, ENDPOINTS, MODEL_DEPLOYMENT)
}


def kind_of(obj: Object) -> Kind:
    """The kind of an object of ours; KeyError for any other."""
    return _KINDS[obj["apiVersion"], obj["kind"]]


@dataclass(frozen=True, slots=True)
class Owner:
    """The ModelDeployment that children belong to; the uid tells it from another that had its name before."""

    namespace: str
    name: str
    uid: str

    @property
    def reference(self) -> dict[str, Any]:
        """What makes Kubernetes collect a child with its deployment, without ever holding that up."""
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": False,
        }


def controller_of(obj: Object) -> Mapping[str, Any]:
    """The owner reference of an object's controller; empty when it has none."""
    owners = obj["metadata"].get("ownerReferences") or ()
    return next((one for one in owners if one.get("controller")), {})


def owns(owner: Owner, obj: Object) -> bool:
    return controller_of(obj).get("uid") == owner.uid


def child_name(owner: Owner, revision: str) -> str:
    """Deployment, Service, autoscaler, budget and ControllerRevision of a revision."""
    return f"{owner.name}-{revision}"


def revision_of(owner: Owner, obj: Object) -> str:
    """The revision in a child's name; empty when it has none."""
    name: str = obj["metadata"]["name"]
    prefix = f"{owner.name}-"
    return name.removeprefix(prefix) if name.startswith(prefix) else ""


def job_name(owner: Owner, key: str, attempt: int) -> str:
    return f"{owner.name}-{key[:KEY_LENGTH]}-{attempt}"


def access_name(owner: Owner) -> str:
    return f"{owner.name}-access"


def candidate_name(owner: Owner) -> str:
    """The Service that always leads to the candidate, for routes that are written down elsewhere."""
    return f"{owner.name}-{CANDIDATE}"


def route_name(owner: Owner, kind: Kind) -> str:
    """Another one for each kind: Contour (1.33) keeps what it says of routes by their names alone."""
    return owner.name if kind == HTTP_ROUTE else f"{owner.name}-grpc"


def policy_name(owner: Owner) -> str:
    return f"{owner.name}-network"


def labels(owner: Owner, revision: str = "") -> dict[str, str]:
    """Our labels; never the ModelDeployment's own, by which a GitOps tool would prune the child."""
    found = {LABEL_MANAGED_BY: MANAGER, LABEL_DEPLOYMENT: owner.name}
    return {**found, LABEL_REVISION: revision} if revision else found


def pods_of(owner: Owner, revision: str) -> dict[str, str]:
    """The labels by which the pods of one revision are selected."""
    return {LABEL_DEPLOYMENT: owner.name, LABEL_REVISION: revision}


def metadata(owner: Owner, name: str, revision: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": labels(owner, revision),
        "ownerReferences": [owner.reference],
    }


def head(kind: Kind, meta: dict[str, Any]) -> dict[str, Any]:
    """The beginning of an object."""
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta}
