"""Where objects live in the API: what tests call `deployments` is a path, and so is an object of kind Deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """One row of the table below."""

    plural: str
    kind: str
    api_version: str
    namespaced: bool = True

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The path of a collection or, with a name, of an object; without namespace it means all of them."""
        parts = ["apis" if "/" in self.api_version else "api", self.api_version]
        if namespace:
            assert self.namespaced, f"{self.plural} have no namespace"
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/" + "/".join(parts)


def rows(api_version: str, *names: str, namespaced: bool = True) -> list[Resource]:
    """Rows from `plural Kind` pairs."""
    pairs = [name.split() for name in names]
    return [Resource(plural, kind, api_version, namespaced) for plural, kind in pairs]


RESOURCES = (
    *rows("v1", "namespaces Namespace", "nodes Node", "persistentvolumes PersistentVolume", namespaced=False),
    *rows("v1", "configmaps ConfigMap", "events Event", "persistentvolumeclaims PersistentVolumeClaim", "pods Pod"),
    *rows("v1", "resourcequotas ResourceQuota", "secrets Secret", "serviceaccounts ServiceAccount"),
    *rows("v1", "services Service"),
    *rows("apps/v1", "controllerrevisions ControllerRevision", "deployments Deployment", "replicasets ReplicaSet"),
    *rows("autoscaling/v2", "horizontalpodautoscalers HorizontalPodAutoscaler"),
    *rows("batch/v1", "jobs Job"),
    *rows("coordination.k8s.io/v1", "leases Lease"),
    *rows("discovery.k8s.io/v1", "endpointslices EndpointSlice"),
    *rows("networking.k8s.io/v1", "networkpolicies NetworkPolicy"),
    *rows("policy/v1", "poddisruptionbudgets PodDisruptionBudget"),
    *rows("rbac.authorization.k8s.io/v1", "roles Role", "rolebindings RoleBinding"),
    *rows(
        "rbac.authorization.k8s.io/v1",
        "clusterroles ClusterRole", "clusterrolebindings ClusterRoleBinding", namespaced=False,
    ),
    *rows("apiextensions.k8s.io/v1", "customresourcedefinitions CustomResourceDefinition", namespaced=False),
    *rows("apiregistration.k8s.io/v1", "apiservices APIService", namespaced=False),
    *rows("serving.tidegate.io/v1alpha1", "modeldeployments ModelDeployment"),
    # The newer events: core events are these, read through their old form.
    Resource("events", "Event", "events.k8s.io/v1"),
)  # fmt: skip
# Served only where a test has installed them: the chart's monitoring, the Gateway API's, KEDA's, what Argo CD and Flux are told.
SOMETIMES = (
    *rows(
        "monitoring.coreos.com/v1",
        "podmonitors PodMonitor", "prometheusrules PrometheusRule", "servicemonitors ServiceMonitor",
    ),
    *rows("gateway.networking.k8s.io/v1", "gateways Gateway", "httproutes HTTPRoute", "grpcroutes GRPCRoute"),
    *rows("gateway.networking.k8s.io/v1", "gatewayclasses GatewayClass", namespaced=False),
    *rows("keda.sh/v1alpha1", "scaledobjects ScaledObject"),
    *rows("argoproj.io/v1alpha1", "applications Application"),
    *rows("kustomize.toolkit.fluxcd.io/v1", "kustomizations Kustomization"),
    *rows("source.toolkit.fluxcd.io/v1", "gitrepositories GitRepository"),
)  # fmt: skip
BY_PLURAL = {row.plural: row for row in reversed((*RESOURCES, *SOMETIMES))}
BY_KIND = {(row.api_version, row.kind): row for row in (*RESOURCES, *SOMETIMES)}


def resource(plural: str) -> Resource:
    """The row of `pods`; of `events`, the core ones."""
    if plural not in BY_PLURAL:
        raise LookupError(f"{plural} is not in the table of {__name__}: add a row")
    return BY_PLURAL[plural]


def resource_of(obj: Mapping[str, Any]) -> Resource:
    """The row of an object, by its apiVersion and kind."""
    key = (obj["apiVersion"], obj["kind"])
    if key not in BY_KIND:
        raise LookupError(f"{key} is not in the table of {__name__}: add a row")
    return BY_KIND[key]
