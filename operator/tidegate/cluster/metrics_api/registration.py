"""Where the API server finds us: an EndpointSlice with our address, and the APIService, if nobody else has it.

There is one source of external metrics in a cluster.  An APIService that leads to somebody else's Service (KEDA, an
adapter of Prometheus) is left as it is, and looked at again: the operator says so in its log and in
`tidegate_metrics_api`.  Ours is owned by a ClusterRole of the chart, so Kubernetes itself removes it when the chart is
told `metricsApi.enabled=false`, or is uninstalled; one that led nowhere would hold up the deletion of namespaces.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from tidegate.cluster.api import Object, metadata, named, path
from tidegate.cluster.connection import MERGE, Call, Connection
from tidegate.cluster.errors import NotFound
from tidegate.cluster.kube import WRITTEN_BY
from tidegate.cluster.metrics_api.documents import GROUP, VERSION
from tidegate.errors import Failed
from tidegate.plan.manifests.identity import LABEL_MANAGED_BY, MANAGER, SERVICE, Kind

API_SERVICE = Kind("apiregistration.k8s.io/v1", "APIService", "apiservices")
CLUSTER_ROLE = Kind("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles")
SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
NAME = "tidegate-metrics-api"  # of the Service, the slices and the ClusterRole
REGISTERED = f"{VERSION}.{GROUP}"
PORT, PORT_NAME = 443, "https"  # of the Service
DEADLINE_SECONDS = 10.0
NEXT_STEP = 'read docs/autoscaling.md, "One source of external metrics"'


class Taken(Failed):
    """Somebody else serves external metrics in this cluster."""


@dataclass(frozen=True, slots=True)
class Registration:
    """Writes where we are; raises the errors of `tidegate.cluster.errors`, and Taken."""

    connection: Connection
    namespace: str  # of the Service

    @property
    def host(self) -> str:
        """The name that the API server looks for in our certificate."""
        return f"{NAME}.{self.namespace}.svc"

    async def hold(self, address: str, port: int, authority: bytes) -> None:
        """Make the API server come to this address and believe this authority."""
        there = await self._get(API_SERVICE, "", REGISTERED)
        if there and (whose := service_of(there)) != (self.namespace, NAME):
            raise Taken(f"the APIService {REGISTERED} belongs to {told(whose)}, and stays so", do=NEXT_STEP)
        service = await self._there(SERVICE, self.namespace)
        slice_ = endpoint_slice(self.namespace, service, address, port)
        await self._put(SLICE, slice_, await self._get(SLICE, self.namespace, slice_["metadata"]["name"]))
        role = await self._there(CLUSTER_ROLE, "")
        await self._put(API_SERVICE, api_service(self.namespace, role, authority), there)

    async def _there(self, kind: Kind, namespace: str) -> Object:
        found = await self._get(kind, namespace, NAME)
        if found is None:
            raise Failed(f"the chart's {kind.kind} {NAME} is not there", do="install the chart with metricsApi.enabled")
        return found

    async def _get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        call = Call("get", "GET", path(kind, namespace or None, name), named(kind, namespace, name))
        try:
            return await self.connection.send(call, DEADLINE_SECONDS)
        except NotFound:
            return None

    async def _put(self, kind: Kind, wanted: Mapping[str, Any], there: Object | None) -> None:
        """Make it, or change what differs of exactly the object that was read."""
        about = wanted["metadata"]
        namespace, name = about.get("namespace"), about["name"]
        where = named(kind, namespace, name)
        if there is None:
            call = Call("create", "POST", path(kind, namespace), where, WRITTEN_BY, wanted)
        elif contains(there, wanted):
            return
        else:
            seen = {**wanted, "metadata": {**about, "resourceVersion": metadata(there)["resourceVersion"]}}
            call = Call("patch", "PATCH", path(kind, namespace, name), where, WRITTEN_BY, seen, MERGE)
        await self.connection.send(call, DEADLINE_SECONDS)


def service_of(registered: Object) -> tuple[str, str]:
    found = (registered.get("spec") or {}).get("service") or {}
    return str(found.get("namespace") or ""), str(found.get("name") or "")


def told(service: tuple[str, str]) -> str:
    return f"the Service {'/'.join(service)}" if service[1] else "the API server itself"


def owned_by(owner: Object) -> dict[str, Any]:
    return {
        "labels": {LABEL_MANAGED_BY: MANAGER},
        "ownerReferences": [{
            "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
        }],
    }  # fmt: skip


def api_service(namespace: str, role: Object, authority: bytes) -> dict[str, Any]:
    spec = {
        "group": GROUP,
        "version": VERSION,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "service": {"namespace": namespace, "name": NAME, "port": PORT},
        "caBundle": base64.b64encode(authority).decode(),
    }
    about = {"name": REGISTERED, **owned_by(role)}
    return {"apiVersion": API_SERVICE.api_version, "kind": API_SERVICE.kind, "metadata": about, "spec": spec}


def endpoint_slice(namespace: str, service: Object, address: str, port: int) -> dict[str, Any]:
    family = f"IPv{ip_address(address).version}"
    about = owned_by(service)
    about["labels"] = {
        **about["labels"], "kubernetes.io/service-name": NAME, "endpointslice.kubernetes.io/managed-by": "tidegate.io",
    }  # fmt: skip
    return {
        "apiVersion": SLICE.api_version,
        "kind": SLICE.kind,
        # Its family cannot be changed afterwards.
        "metadata": {"name": f"{NAME}-{family.lower()}", "namespace": namespace, **about},
        "addressType": family,
        "ports": [{"name": PORT_NAME, "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
    }


def contains(there: Any, wanted: Any) -> bool:
    """Whether an object has all that is wanted of it; lists are compared item by item."""
    if isinstance(wanted, Mapping):
        return isinstance(there, Mapping) and all(contains(there.get(name), part) for name, part in wanted.items())
    if isinstance(wanted, list):
        same = isinstance(there, list) and len(there) == len(wanted)
        return same and all(contains(one, part) for one, part in zip(there, wanted, strict=True))
    return bool(there == wanted)
