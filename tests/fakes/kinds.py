"""What the fake knows of a kind, so that no other file asks for one by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tidegate.plan.manifests.identity import (
    AUTOSCALER,
    BUDGET,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    JOB,
    MODEL_DEPLOYMENT,
    NETWORK_POLICY,
    POD,
    SERVICE,
    Kind,
)

from .fields import Object


@dataclass(frozen=True, slots=True)
class Traits:
    """How the server treats objects of a kind."""

    status: Any = None  # what a new object's status is; None: the kind has no status subresource
    counts_changes: bool = False  # metadata.generation
    graceful: bool = False  # deletion waits for a kubelet
    unconditional: bool = True  # a PUT without resourceVersion is taken


NO_HEALTH = {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}
TRAITS = {
    MODEL_DEPLOYMENT: Traits(status=..., counts_changes=True, unconditional=False),
    DEPLOYMENT: Traits(status={}, counts_changes=True),
    JOB: Traits(status={}, counts_changes=True),
    POD: Traits(status={"phase": "Pending"}, counts_changes=True, graceful=True),
    SERVICE: Traits(status={"loadBalancer": {}}),
    AUTOSCALER: Traits(status={"currentMetrics": None, "desiredReplicas": 0}),
    BUDGET: Traits(status=NO_HEALTH, counts_changes=True),
    NETWORK_POLICY: Traits(counts_changes=True),
    CONFIG_MAP: Traits(),
    CONTROLLER_REVISION: Traits(),
}
PLAIN = Traits()
BY_NAME = {(kind.api_version, kind.kind): kind for kind in TRAITS}


def kind_of(obj: Object) -> Kind:
    """The kind of any object, also of those that Tidegate never makes."""
    named = obj["apiVersion"], obj["kind"]
    return BY_NAME.get(named) or Kind(*named, obj["kind"].lower() + "s")


def traits(kind: Kind) -> Traits:
    return TRAITS.get(kind, PLAIN)
