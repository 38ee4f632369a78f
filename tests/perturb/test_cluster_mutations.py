"""Other programs change what the operator writes, on its way in: nobody fights about it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
from tests.fakes.fields import Object

from .cluster_process import RESYNC
from .cluster_stage import Stage
from .cluster_stories import deploys, serves, until_serving
from .cluster_story import Story, clean
from .cluster_tally import ran

Mutation = Callable[[str, Object], object]
SIDECAR = {"name": "proxy", "image": "registry.example/proxy:1"}
NOTE = "proxy.example/injected"


def with_item(operation: str, obj: Object, field: str, item: dict[str, Any]) -> None:
    """A pod's template gets an item, unless it has it."""
    if obj["kind"] == "Deployment":
        items = obj["spec"]["template"]["spec"].setdefault(field, [])
        if not any(one["name"] == item["name"] for one in items):
            items.append(dict(item))


def with_variable(operation: str, obj: Object) -> None:
    if obj["kind"] == "Deployment":
        for container in obj["spec"]["template"]["spec"]["containers"]:
            variables = container.setdefault("env", [])
            if not any(one["name"] == "HTTPS_PROXY" for one in variables):
                variables.append({"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"})


def with_notes(operation: str, obj: Object) -> None:
    """On everything, and on the templates of pods."""
    heads = [obj["metadata"]]
    if obj["kind"] == "Deployment":
        heads.append(obj["spec"]["template"]["metadata"])
    for head in heads:
        head.setdefault("annotations", {})[NOTE] = "true"
        head.setdefault("labels", {})[NOTE] = "true"


MUTATIONS: dict[str, Mutation] = {
    "a sidecar": partial(with_item, field="containers", item=SIDECAR),
    "an init container": partial(with_item, field="initContainers", item={**SIDECAR, "name": "first"}),
    "a volume": partial(with_item, field="volumes", item={"name": "proxy", "emptyDir": {}}),
    "a variable": with_variable,
    "labels and annotations": with_notes,
}


@cache
def serving_with(name: str) -> Stage:
    stage = Stage()
    stage.cluster.admission.append(MUTATIONS[name])
    stage.deploy("v1")
    stage.pass_time(600)
    assert serves(stage, "v1"), stage.status
    return stage


@pytest.mark.parametrize("name", MUTATIONS)
def test_what_others_add_to_our_objects_stays_and_costs_no_write(name: str) -> None:
    """At rest nothing is written, through two resyncs: `clean` sees to that."""
    begins = partial(serving_with, name)
    plain = clean(Story("promoted", (deploys("v2"), until_serving("v2")), untouched))

    known = clean(Story(name, (deploys("v2"), until_serving("v2")), begins))

    assert any(kind.startswith("Deployment") and "proxy" in str(obj) for kind, obj in known.end.items())
    assert known.outcome == plain.outcome
    assert [str(call).partition(" ")[2] for call in known.calls] == [str(c).partition(" ")[2] for c in plain.calls]
    ran("P12")


def from_a_mirror(operation: str, obj: Object) -> None:
    """Every image comes from elsewhere, whoever writes."""
    if obj["kind"] == "Deployment":
        for container in obj["spec"]["template"]["spec"]["containers"]:
            container["image"] = container["image"].replace("registry.example", "mirror.example")


def test_against_a_rule_that_has_the_last_word_one_write_is_tried_a_resync_and_no_more() -> None:
    stage = Stage()
    stage.cluster.admission.append(from_a_mirror)
    stage.deploy("v1")
    stage.pass_time(600)
    assert serves(stage, "v1")

    for _ in range(3):
        before = stage.operator.api.faults.sent
        stage.pass_time(RESYNC + 60)
        assert stage.operator.api.faults.sent - before <= 1
        ran("P12")
    assert serves(stage, "v1")


@cache
def untouched() -> Stage:
    stage = Stage()
    stage.deploy("v1")
    stage.pass_time(600)
    return stage
