"""What a server makes of the objects that we render: if its rewriting looked like drift, we would apply for ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.control_plane.plane import Plane
from tests.fakes.children import CHILDREN, SPECS, rendered
from tests.fakes.fields import Object
from tests.fakes.samples import apply, create, live, model, version
from tests.fakes.sides import SIDES, FakeSide, RealSide, Side, side_of

from tidegate.plan.manifests.drift import differs
from tidegate.plan.manifests.identity import Owner, kind_of
from tidegate.plan.manifests.stored import read_stored

SET_BY_THE_SERVER = ("uid", "resourceVersion", "creationTimestamp", "managedFields")


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest, api_server: Plane) -> Side:
    return side_of(request.param, api_server)


@pytest.fixture(params=SPECS)
def spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    return SPECS[request.param]


def owner_in(side: Side) -> Owner:
    made = create(side, model(side))
    return Owner(side.namespace, "fraud", made["metadata"]["uid"])


@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_just_made_does_not_differ_from_what_was_wanted(side: Side, spec: dict[str, Any], child: str) -> None:
    wanted = rendered(owner_in(side), spec)[child]

    answer = create(side, wanted)

    assert not differs(wanted, answer)
    assert not differs(wanted, live(side, kind_of(wanted), wanted["metadata"]["name"]))


@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_applied_again_stays_as_it_is(side: Side, spec: dict[str, Any], child: str) -> None:
    wanted = rendered(owner_in(side), spec)[child]
    if child == "deployment":
        create(side, wanted)
        del wanted["spec"]["replicas"]

    first = apply(side, wanted)
    second = apply(side, wanted)

    assert not differs(wanted, second)
    assert version(first) == version(second)


@pytest.mark.parametrize("child", CHILDREN)
def test_the_fake_stores_what_a_real_server_stores(api_server: Plane, spec: dict[str, Any], child: str) -> None:
    real = RealSide(api_server)
    fake = FakeSide.in_memory(real.namespace)
    owner = Owner(real.namespace, "fraud", "00000000-0000-4000-8000-000000000001")
    wanted = rendered(owner, spec)[child]

    assert plain(create(fake, wanted)) == plain(create(real, wanted))
    assert plain(apply(fake, wanted)) == plain(apply(real, wanted))


def test_a_record_is_read_as_it_was_written(side: Side, spec: dict[str, Any]) -> None:
    wanted = rendered(owner_in(side), spec)["record"]

    stored = read_stored(create(side, wanted))

    assert stored is not None
    assert stored == read_stored(wanted)
    assert stored.template == rendered(owner_in_again(side), spec)["deployment"]["spec"]["template"]


def owner_in_again(side: Side) -> Owner:
    return Owner(side.namespace, "fraud", "")


def plain(obj: Object) -> Object:
    """The object without what is different on every server."""
    metadata = {name: value for name, value in obj["metadata"].items() if name not in SET_BY_THE_SERVER}
    spec = {name: value for name, value in obj.get("spec", {}).items() if name not in ("clusterIP", "clusterIPs")}
    if obj["kind"] == "Job":
        spec = without_uid(spec)
    return {**obj, "metadata": metadata, **({"spec": spec} if "spec" in obj else {})}


def without_uid(spec: Object) -> Object:
    """A Job's selector and labels hold its uid."""
    labels = {name: value for name, value in spec["template"]["metadata"]["labels"].items() if "uid" not in name}
    template = {**spec["template"], "metadata": {**spec["template"]["metadata"], "labels": labels}}
    return {**spec, "selector": None, "template": template}


@pytest.mark.parametrize("child", CHILDREN)
def test_the_fake_says_who_owns_what_as_a_real_server_does(api_server: Plane, spec: dict[str, Any], child: str) -> None:
    real = RealSide(api_server)
    fake = FakeSide.in_memory(real.namespace)
    owner = Owner(real.namespace, "fraud", "00000000-0000-4000-8000-000000000001")
    wanted = rendered(owner, spec)[child]

    assert owners(create(fake, wanted)) == owners(create(real, wanted))
    assert owners(apply(fake, wanted)) == owners(apply(real, wanted))


def owners(obj: Object) -> dict[tuple[str, str], set[tuple[str, ...]]]:
    """Manager and kind of write, with the leaves that it owns; of maps alone the fake keeps no account."""
    return {
        (entry["manager"], entry["operation"]): set(leaves(entry["fieldsV1"]))
        for entry in obj["metadata"]["managedFields"]
    }


def leaves(tree: Object, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    inner = {step: part for step, part in tree.items() if step != "."}
    passed_through = "." in tree and at[-1].startswith("f:")
    if not inner and not passed_through and at[-1] not in ("f:requests", "f:limits"):
        yield at
    for step, part in inner.items():
        yield from leaves(part, (*at, step))
