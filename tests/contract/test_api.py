"""Objects made, read, deleted and watched: on a real API server and on the fake of the perturbation suite.

A test that fails on one side only shows where the fake lies.
"""

from __future__ import annotations

import pytest
from tests.control_plane.plane import Plane
from tests.fakes.fields import Object
from tests.fakes.samples import (
    NOBODY,
    config,
    create,
    deployment,
    generation,
    live,
    model,
    refused,
    version,
)
from tests.fakes.sides import SIDES, FakeSide, Side, side_of

from tidegate.cluster.errors import (
    AlreadyExists,
    NamespaceTerminating,
    NotFound,
    Refused,
)
from tidegate.plan.manifests.identity import (
    CONFIG_MAP,
    MANAGER,
    MODEL_DEPLOYMENT,
)


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest, api_server: Plane) -> Side:
    return side_of(request.param, api_server)


def test_a_new_object_is_named_counted_and_dated(side: Side) -> None:
    made = create(side, deployment(side))

    assert made["metadata"]["uid"]
    assert made["metadata"]["creationTimestamp"].endswith("Z")
    assert int(version(made)) > 0
    assert generation(made) == 1
    assert made["metadata"]["managedFields"][0]["manager"] == MANAGER


def test_a_taken_name_is_an_error_and_changes_nothing(side: Side) -> None:
    first = create(side, config(side))

    refused(side, AlreadyExists, lambda api: api.create(config(side, data={"a": "2"})))

    assert live(side, CONFIG_MAP, "settings")["data"] == {"a": "1"}
    assert version(live(side, CONFIG_MAP, "settings")) == version(first)


def test_nothing_is_made_in_a_namespace_that_is_absent_or_ending(side: Side) -> None:
    if isinstance(side, FakeSide):
        side.api.cluster.absent_namespaces.add("nowhere")
    stray = config(side)
    stray["metadata"]["namespace"] = "nowhere"
    refused(side, NotFound, lambda api: api.create(stray))

    side.others.end_namespace(side.namespace)

    refused(side, NamespaceTerminating, lambda api: api.create(config(side)))


@pytest.mark.parametrize(
    "change", [{"scaling": {"minReplicas": 9, "maxReplicas": 2}}, {"bundle": {"uri": "s3://a/../b"}}]
)
def test_a_spec_that_breaks_a_rule_is_refused(side: Side, change: Object) -> None:
    refused(side, Refused, lambda api: api.create(model(side, **change)))


def test_a_label_that_is_none_is_refused(side: Side) -> None:
    refused(side, Refused, lambda api: api.create(config(side, labels={"a": "not a label!"})))


def test_what_is_not_there_is_none(side: Side) -> None:
    assert side.ask(lambda api: api.get(CONFIG_MAP, side.namespace, "nothing")) is None
    assert side.ask(lambda api: api.list(CONFIG_MAP, side.namespace, "app=nothing")) == []


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("", {"one", "two", "none"}),
        ("app=a", {"one"}),
        ("app=a,tier=front", {"one"}),
        ("app!=a", {"two", "none"}),
        ("app in (a, b),tier", {"one"}),
        ("app notin (a)", {"two", "none"}),
        ("!app", {"none"}),
    ],
)
def test_a_list_holds_what_the_selector_says_and_says_what_it_is(side: Side, selector: str, found: set[str]) -> None:
    for name, labels in (("one", {"app": "a", "tier": "front"}), ("two", {"app": "b"}), ("none", {"x": "y"})):
        create(side, config(side, name, labels={**labels, "mine": "yes"}))

    listed = side.ask(lambda api: api.list(CONFIG_MAP, side.namespace, f"mine,{selector}" if selector else "mine"))
    everywhere = side.ask(lambda api: api.list(CONFIG_MAP, None, "mine"))

    assert {obj["metadata"]["name"] for obj in listed} == found
    assert {(obj["apiVersion"], obj["kind"]) for obj in listed} == {("v1", "ConfigMap")}
    assert {"one", "two", "none"} <= {obj["metadata"]["name"] for obj in everywhere}


def test_a_delete_meets_only_the_object_with_that_uid(side: Side) -> None:
    made = create(side, config(side))

    side.ask(lambda api: api.delete(CONFIG_MAP, side.namespace, "settings", NOBODY))
    assert live(side, CONFIG_MAP, "settings")["metadata"]["uid"] == made["metadata"]["uid"]

    side.ask(lambda api: api.delete(CONFIG_MAP, side.namespace, "settings", made["metadata"]["uid"]))
    side.ask(lambda api: api.delete(CONFIG_MAP, side.namespace, "settings", made["metadata"]["uid"]))
    assert side.ask(lambda api: api.get(CONFIG_MAP, side.namespace, "settings")) is None


def test_a_finalizer_holds_an_object_back_until_it_is_taken_away(side: Side) -> None:
    made = create(side, {**model(side), "metadata": {**model(side)["metadata"], "finalizers": ["example.com/wait"]}})

    side.ask(lambda api: api.delete(MODEL_DEPLOYMENT, side.namespace, "fraud", made["metadata"]["uid"]))

    held = live(side, MODEL_DEPLOYMENT, "fraud")
    assert held["metadata"]["deletionTimestamp"]
    assert generation(held) == 2
    side.others.edit(MODEL_DEPLOYMENT, side.namespace, "fraud", lambda obj: obj["metadata"].update(finalizers=[]))
    assert side.ask(lambda api: api.get(MODEL_DEPLOYMENT, side.namespace, "fraud")) is None


def test_a_watch_shows_what_comes_into_its_selector_and_what_leaves_it(side: Side) -> None:
    def label(**labels: str) -> None:
        side.others.edit(CONFIG_MAP, side.namespace, "one", lambda obj: obj["metadata"].update(labels=labels))

    def happens() -> None:
        create(side, config(side, "stranger"))
        create(side, config(side, "one"))
        label(app="a")
        label(app="a", more="b")
        label(app="other")
        label(app="a")
        side.others.delete(CONFIG_MAP, side.namespace, "one")

    seen = side.events_of(CONFIG_MAP, "app=a", happens)

    assert seen == [(event, "one") for event in ("ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED")]
