"""Plans, records and specs in a few words, as the tests of this folder need them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, cast

from tidegate.api.runtime import Runtime
from tidegate.api.spec import ModelDeploymentSpec
from tidegate.api.status import ModelDeploymentStatus
from tidegate.bundle.manifest import Interface, TensorSpec
from tidegate.plan.manifests.identity import Owner
from tidegate.plan.manifests.platform import Platform
from tidegate.plan.observed import Resolution, RevisionRecord
from tidegate.plan.wanted import GoldenMode, Plan, ResolveWanted, RevisionWanted

OWNER = Owner("payments", "fraud", "uid-of-fraud")
PLATFORM = Platform("registry.example.com/tidegate/runtime:1.0", '{"issuer":"https://kubernetes.default.svc"}')
NEWER = Platform("registry.example.com/tidegate/runtime:2.0", PLATFORM.access)
PLAIN = Interface((TensorSpec("x", "FP32", ("N", 4)),), (TensorSpec("y", "FP32", ("N", 2)),))
NOTHING = Interface((), ())
OLD, NEW = "0123456789", "abcdef0123"


def spec_of(**parts: Any) -> ModelDeploymentSpec:
    return ModelDeploymentSpec.model_validate({"bundle": {"uri": "s3://models/fraud/1"}, **parts})


def runtime_of(**parts: Any) -> Runtime:
    return Runtime.model_validate(parts)


def record(revision: str = OLD, *, uri: str = "s3://models/fraud/1", image: str = "", **changes: Any) -> RevisionRecord:
    """A record whose interface is known, unless the test says otherwise."""
    interface, plain_bytes = changes.pop("interface", PLAIN), changes.pop("plain_bytes", 0)
    bundle = Resolution(
        uri, "sha256:" + revision[:2] * 32, "1.4.0", interface, has_golden=True, image=image, plain_bytes=plain_bytes
    )
    given = {"number": 1, "runtime": Runtime(), "base": revision, **changes}
    return RevisionRecord(revision, resolution=bundle, **given)


def wanted(
    revision: str | RevisionRecord = OLD, replicas: int = 1, most: int | None = None, golden: GoldenMode = "Require"
) -> RevisionWanted:
    of = record(revision) if isinstance(revision, str) else revision
    return RevisionWanted(of, replicas, replicas if most is None else most, golden)


def plan_of(
    *revisions: RevisionWanted,
    weights: Mapping[str, int] | None = None,
    stable: str = "",
    resolve: ResolveWanted | None = None,
    keep: frozenset[str] | None = None,
) -> Plan:
    """A plan for the children; `keep` is all of its revisions unless the test says otherwise."""
    names = frozenset(one.record.revision for one in revisions)
    return Plan(
        revisions=revisions,
        weights=weights or {},
        stable=stable,
        pin=None,
        shadow=None,
        synthetic={},
        resolve=resolve,
        keep=names if keep is None else keep,
        status=ModelDeploymentStatus(),
        events=(),
        decisions=(),
        look_again=None,
    )


def serving(revision: str | RevisionRecord = OLD, replicas: int = 1, most: int | None = None) -> Plan:
    """A plan in which one revision is stable and has all the traffic."""
    one = wanted(revision, replicas, most)
    name = one.record.revision
    return plan_of(one, weights={name: 100}, stable=name)


# Two versions, one of them stable and one on trial.
CANARY = plan_of(wanted(OLD, 2, 8), wanted(NEW, 1), weights={OLD: 90, NEW: 10}, stable=OLD)


def asked(spec: ModelDeploymentSpec | None = None, key: str = "fedcba9876", attempt: int = 1) -> ResolveWanted:
    return ResolveWanted(key, attempt, (spec or spec_of()).bundle)


def flags(arguments: list[str]) -> dict[str, str]:
    """`--name value` pairs of a command line."""
    return {name.removeprefix("--"): value for name, value in pairwise(arguments) if name.startswith("--")}


def container(pod: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A container of a pod template, init steps included."""
    both = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    return cast("dict[str, Any]", next(one for one in both if one["name"] == name))
