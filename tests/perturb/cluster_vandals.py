"""What people and other programs do to the children of a deployment; each is mended, and nothing else happens."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.fakes.fields import Object

from tidegate.plan.manifests.identity import (
    ANNOTATION_ROUTED,
    ANNOTATION_STABLE,
    ANNOTATION_TEMPLATE,
    AUTOSCALER,
    BUDGET,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    LABEL_DEPLOYMENT,
    LABEL_MANAGED_BY,
    LABEL_REVISION,
    NETWORK_POLICY,
    POD,
    SERVICE,
    Kind,
)

from .cluster_faults import RELIST_AFTER, Copies, Fault, relist
from .cluster_stage import HERE, NAME, Stage

Change = Callable[[Object], object]
Names = Callable[[Stage], list[str]]


def front(stage: Stage) -> list[str]:
    return [NAME]


def access(stage: Stage) -> list[str]:
    return [f"{NAME}-access"]


def network(stage: Stage) -> list[str]:
    return [f"{NAME}-network"]


def of_revisions(stage: Stage) -> list[str]:
    return [f"{NAME}-{revision}" for revision in stage.view.deployments]


def of_stable(stage: Stage) -> list[str]:
    return [f"{NAME}-{stage.view.marker}"]


def deletes(kind: Kind, names: Names) -> Fault:
    return Fault(f"{kind.kind} of {names.__name__} deleted", partial(_delete, kind=kind, names=names))


def _delete(stage: Stage, kind: Kind, names: Names) -> None:
    for name in names(stage):
        if stage.cluster.find(kind, HERE, name):
            stage.users.delete(kind, HERE, name)


def edits(what: str, kind: Kind, names: Names, change: Change) -> Fault:
    return Fault(f"{kind.kind} of {names.__name__}: {what}", partial(_edit, kind=kind, names=names, change=change))


def _edit(stage: Stage, kind: Kind, names: Names, change: Change) -> None:
    for name in names(stage):
        if stage.cluster.find(kind, HERE, name):
            stage.users.edit(kind, HERE, name, change)


def unlabelled(*names: str) -> Change:
    return partial(_without, part="labels", names=names)


def unannotated(*names: str) -> Change:
    return partial(_without, part="annotations", names=names)


def _without(obj: Object, part: str, names: tuple[str, ...]) -> None:
    kept = obj["metadata"].get(part) or {}
    obj["metadata"][part] = {name: value for name, value in kept.items() if name not in names}


def with_spec(**spec: Any) -> Change:
    return partial(_with_spec, spec=spec)


def _with_spec(obj: Object, spec: dict[str, Any]) -> None:
    obj["spec"] |= spec


def another_image(obj: Object) -> None:
    obj["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example/of-somebody:1"


def another_port(obj: Object) -> None:
    obj["spec"]["ports"] = [{"name": "http", "port": 80, "targetPort": 8080}]


def bounds_apart(obj: Object) -> None:
    obj["spec"] |= {"minReplicas": 1, "maxReplicas": 50}


def other_content(obj: Object) -> None:
    obj["data"] = {"access.json": "{}"}


def pods_deleted(stage: Stage, names: Names) -> None:
    wanted = {name.removeprefix(f"{NAME}-") for name in names(stage)}
    for pod in stage.cluster.listed(POD, HERE):
        if (pod["metadata"].get("labels") or {}).get(LABEL_REVISION) in wanted:
            stage.users.delete(POD, HERE, pod["metadata"]["name"])


def unseen(vandal: Fault) -> Fault:
    """What it does is not told; later the watches begin anew."""
    return Fault(f"unseen: {vandal.name}", partial(_unseen, vandal=vandal))


def _unseen(stage: Stage, vandal: Fault) -> None:
    watch = stage.operator.watch
    first = watch._count + 1
    watch.copies = Copies(first, first + 1000, 0)
    vandal.strike(stage)
    watch.copies = Copies(first, watch._count, 0)
    stage.after(RELIST_AFTER, relist, matters=False)


OURS = (LABEL_MANAGED_BY, LABEL_DEPLOYMENT, LABEL_REVISION)
ELSEWHERE = {"selector": {"app": "something-else"}}
VANDALS: tuple[Fault, ...] = (
    deletes(DEPLOYMENT, of_revisions),
    deletes(SERVICE, front),
    deletes(SERVICE, of_revisions),
    deletes(BUDGET, of_stable),
    deletes(AUTOSCALER, of_stable),
    deletes(CONFIG_MAP, access),
    deletes(NETWORK_POLICY, network),
    deletes(CONTROLLER_REVISION, of_revisions),
    edits("scaled to nothing", DEPLOYMENT, of_revisions, with_spec(replicas=0)),
    edits("scaled to 9", DEPLOYMENT, of_stable, with_spec(replicas=9)),
    edits("another image", DEPLOYMENT, of_stable, another_image),
    edits("without its hash", DEPLOYMENT, of_revisions, unannotated(ANNOTATION_TEMPLATE)),
    edits("without our labels", DEPLOYMENT, of_revisions, unlabelled(*OURS)),
    edits("leads elsewhere", SERVICE, front, with_spec(**ELSEWHERE)),
    edits("leads elsewhere", SERVICE, of_revisions, with_spec(**ELSEWHERE)),
    edits("another port", SERVICE, front, another_port),
    edits("without its annotations", SERVICE, front, unannotated(ANNOTATION_STABLE, ANNOTATION_ROUTED)),
    edits("without our labels", SERVICE, front, unlabelled(*OURS)),
    edits("without our labels", CONTROLLER_REVISION, of_revisions, unlabelled(*OURS)),
    edits("without our labels", CONFIG_MAP, access, unlabelled(*OURS)),
    edits("a minimum instead", BUDGET, of_stable, with_spec(minAvailable=3, maxUnavailable=None)),
    edits("other bounds", AUTOSCALER, of_stable, bounds_apart),
    edits("other content", CONFIG_MAP, access, other_content),
    edits("open to everybody", NETWORK_POLICY, network, with_spec(ingress=[{}], egress=[{}])),
    edits("without our labels", NETWORK_POLICY, network, unlabelled(*OURS)),
    Fault("all pods deleted", partial(pods_deleted, names=of_revisions)),
)
