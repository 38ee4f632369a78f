"""A cluster of dicts: it takes effects as an API server would, fills in what servers fill in, and answers with copies.

What it fills in was copied from a kube-apiserver 1.36.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.plan.manifests.children import Apply, Create, Delete, Effect, Effects, Scale, effects, seen_of
from tidegate.plan.manifests.identity import Kind, Owner, kind_of
from tidegate.plan.manifests.platform import Platform
from tidegate.plan.manifests.routes import Gateways
from tidegate.plan.manifests.seen import Seen
from tidegate.plan.wanted import Plan

from .parts import NEW, OLD, OWNER, PLATFORM, spec_of

Key = tuple[str, str, str]  # kind, namespace, name
KEYED = {
    "containers": "name", "initContainers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath",
    "ownerReferences": "uid", "imagePullSecrets": "name",
}  # fmt: skip
ATOMIC = {"selector", "nodeSelector", "labelSelector", "podSelector"}


class Cluster:
    """Objects of any number of deployments; every write is remembered."""

    def __init__(self, owner: Owner = OWNER, spec: ModelDeploymentSpec | None = None) -> None:
        self.owner = owner
        self.spec = spec or spec_of()
        self.platform = PLATFORM
        self.gateways: Gateways | None = None
        self.objects: dict[Key, dict[str, Any]] = {}
        self.writes: list[Effect] = []
        self._uids = itertools.count(1)

    # -- a turn ------------------------------------------------------------------------------------

    def effects(self, plan: Plan, platform: Platform | None = None) -> Effects:
        return effects(self.owner, self.spec, plan, self.seen, platform or self.platform, self.gateways)

    def carry_out(self, plan: Plan) -> list[Effect]:
        """One turn; what it wrote."""
        found = self.effects(plan)
        made = [*found.records, *found.changes]
        for effect in made:
            self.take(effect)
        return made

    def settle(self, plan: Plan, turns: int = 4) -> Cluster:
        """Turns until there is nothing left to do."""
        for _ in range(turns):
            if not self.carry_out(plan):
                return self
        raise AssertionError(f"no end: {self.carry_out(plan)}")

    # -- what is there -----------------------------------------------------------------------------

    @property
    def seen(self) -> Seen:
        return seen_of(self.owner, self.all())

    def all(self) -> list[dict[str, Any]]:
        return copy.deepcopy(list(self.objects.values()))

    def names(self, kind: Kind) -> list[str]:
        return sorted(name for there, _, name in self.objects if there == kind.kind)

    def live(self, kind: Kind, name: str) -> dict[str, Any]:
        """The object itself: a test that changes it is somebody with kubectl."""
        return self.objects[kind.kind, self.owner.namespace, name]

    def put(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        """Somebody makes an object."""
        made = with_defaults(json.loads(json.dumps(obj)))
        made["metadata"]["uid"] = f"uid-{next(self._uids)}"
        self.objects[made["kind"], made["metadata"]["namespace"], made["metadata"]["name"]] = made
        return made

    def remove(self, kind: Kind, name: str) -> None:
        del self.objects[kind.kind, self.owner.namespace, name]

    # -- writes ------------------------------------------------------------------------------------

    def take(self, effect: Effect) -> None:
        self.writes.append(effect)
        match effect:
            case Create(obj):
                meta = obj["metadata"]
                assert (obj["kind"], meta["namespace"], meta["name"]) not in self.objects, f"{meta['name']} exists"
                self.put(obj)
            case Apply(obj):
                self._apply(json.loads(json.dumps(obj)))
            case Scale(kind, namespace, name, replicas):
                self.objects[kind.kind, namespace, name]["spec"]["replicas"] = replicas
            case Delete(kind, namespace, name, uid):
                assert self.objects[kind.kind, namespace, name]["metadata"]["uid"] == uid
                del self.objects[kind.kind, namespace, name]

    def _apply(self, obj: dict[str, Any]) -> None:
        meta = obj["metadata"]
        live = self.objects[kind_of(obj).kind, meta["namespace"], meta["name"]]
        assert meta["uid"] == live["metadata"]["uid"], "an apply without the uid may meet a stranger"
        assert "replicas" not in obj.get("spec", {}), "an apply with replicas fights with the autoscaler"
        self.objects[obj["kind"], meta["namespace"], meta["name"]] = with_defaults(merged(live, obj))


def merged(live: Any, wanted: Any, field: str = "") -> Any:
    """What a server-side apply makes of an object."""
    if isinstance(live, dict) and isinstance(wanted, dict) and field not in ATOMIC:
        return live | {name: merged(live.get(name), value, name) for name, value in wanted.items()}
    if isinstance(live, list) and isinstance(wanted, list) and (key := key_of(field, wanted)):
        items = {item.get(key): item for item in live}
        for item in wanted:
            items[item.get(key)] = merged(items.get(item.get(key)), item)
        return list(items.values())
    return wanted


def key_of(field: str, items: list[Any]) -> str:
    if field == "ports" and items:
        return "port" if "port" in items[0] else "containerPort"
    return KEYED.get(field, "")


# -- what a server fills in


def with_defaults(obj: dict[str, Any]) -> dict[str, Any]:
    fill = DEFAULTS.get(obj["kind"], lambda spec: spec)
    return {**obj, "spec": fill(obj["spec"])} if "spec" in obj else obj


def deployment_defaults(spec: dict[str, Any]) -> dict[str, Any]:
    return {"replicas": 1, "progressDeadlineSeconds": 600, **spec, "template": template_defaults(spec["template"])}


def template_defaults(template: dict[str, Any]) -> dict[str, Any]:
    spec = template["spec"]
    common = {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    if account := spec.get("serviceAccountName"):
        common["serviceAccount"] = account
    return {
        **template,
        "spec": {
            **common,
            **spec,
            "initContainers": list(map(container_defaults, spec.get("initContainers", []))),
            "containers": list(map(container_defaults, spec["containers"])),
            "volumes": list(map(volume_defaults, spec["volumes"])),
        },
    }


def container_defaults(container: dict[str, Any]) -> dict[str, Any]:
    filled = {**container}
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        if name in filled:
            got = {"scheme": "HTTP", **filled[name]["httpGet"]}
            filled[name] = {"successThreshold": 1, **filled[name], "httpGet": got}
    if "ports" in filled:
        filled["ports"] = [{"protocol": "TCP", **port} for port in filled["ports"]]
    filled["env"] = [{name: text for name, text in one.items() if text != ""} for one in filled.get("env", [])]
    if not filled["env"]:
        del filled["env"]
    return filled


def volume_defaults(volume: dict[str, Any]) -> dict[str, Any]:
    filled = {**volume}
    for name in ("configMap", "secret", "projected"):
        if name in filled:
            filled[name] = {"defaultMode": 420, **filled[name]}
    return filled


def service_defaults(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None", **spec,
    }  # fmt: skip


def job_defaults(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "completionMode": "NonIndexed", "completions": 1, "parallelism": 1, "manualSelector": False,
        "podReplacementPolicy": "TerminatingOrFailed", "suspend": False, **spec,
        "template": template_defaults(spec["template"]),
    }  # fmt: skip


DEFAULTS: Mapping[str, Any] = {
    "Deployment": deployment_defaults,
    "Service": service_defaults,
    "Job": job_defaults,
}


SCALED = spec_of(scaling={"minReplicas": 2, "maxReplicas": 8})
OF_OLD, OF_NEW = f"fraud-{OLD}", f"fraud-{NEW}"


def cluster_of(plan: Plan, **spec: Any) -> Cluster:
    """Where that plan has been carried out, for a deployment that scales from 2 to 8 unless the test says otherwise."""
    cluster = Cluster(spec=spec_of(**spec) if spec else SCALED).settle(plan)
    cluster.writes.clear()
    return cluster


def kinds(effects: Iterable[Effect]) -> list[str]:
    """What was done, as `Create Deployment fraud-…`."""
    return [f"{type(effect).__name__} {' '.join(_subject(effect))}" for effect in effects]


def _subject(effect: Effect) -> tuple[str, str]:
    if isinstance(effect, Create | Apply):
        return effect.obj["kind"], effect.obj["metadata"]["name"]
    return effect.kind.kind, effect.name
