"""Whose fields an apply sets, takes over, leaves and takes away: on a real API server and on the fake.

A test that fails on one side only shows where the fake lies.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.control_plane.plane import Plane
from tests.fakes.fields import Object
from tests.fakes.samples import (
    NOBODY,
    apply,
    config,
    container,
    create,
    deployment,
    job,
    live,
    model,
    named,
    refused,
    version,
)
from tests.fakes.sides import SIDES, Side, side_of

from tidegate.cluster.errors import (
    Conflict,
    Refused,
)
from tidegate.plan.manifests.identity import (
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    MANAGER,
    SERVICE,
    kind_of,
)


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest, api_server: Plane) -> Side:
    return side_of(request.param, api_server)


def test_an_apply_makes_what_is_missing_unless_it_names_a_uid(side: Side) -> None:
    apply(side, config(side))
    assert live(side, CONFIG_MAP, "settings")["data"] == {"a": "1"}

    refused(side, Conflict, lambda api: api.apply(config(side, "other", uid=NOBODY)))

    assert side.ask(lambda api: api.get(CONFIG_MAP, side.namespace, "other")) is None


@pytest.mark.parametrize("make", [config, deployment, model])
def test_an_apply_to_another_uid_changes_nothing_and_is_a_conflict(side: Side, make: Callable[..., Object]) -> None:
    first = create(side, make(side))
    wanted = make(side)
    wanted["metadata"] |= {"uid": NOBODY, "labels": {"a": "b"}}

    refused(side, Conflict, lambda api: api.apply(wanted))

    assert version(live(side, kind_of(first), first["metadata"]["name"])) == version(first)


def test_an_applied_field_that_is_left_out_is_taken_away_and_others_fields_stay(side: Side) -> None:
    apply(side, config(side, data={"a": "1", "b": "2"}, labels={"ours": "1"}))
    side.others.apply(config(side, data={"c": "3"}, labels={"theirs": "1"}), "somebody")

    made = apply(side, config(side, data={"a": "1"}))

    assert made["data"] == {"a": "1", "c": "3"}
    assert made["metadata"]["labels"] == {"theirs": "1"}


def test_a_field_that_a_post_brought_is_not_taken_away_by_an_apply_without_it(side: Side) -> None:
    create(side, config(side, data={"a": "1", "b": "2"}))

    apply(side, config(side, data={"a": "1"}))
    made = apply(side, config(side, data={"a": "1"}))

    assert made["data"] == {"a": "1", "b": "2"}


def test_a_shared_field_stays_when_one_of_its_owners_leaves_it_out(side: Side) -> None:
    apply(side, config(side, data={"a": "1", "b": "2"}))
    side.others.apply(config(side, data={"b": "2"}), "somebody")

    assert apply(side, config(side, data={"a": "1"}))["data"] == {"a": "1", "b": "2"}


def test_our_apply_takes_fields_over_that_others_changed(side: Side) -> None:
    create(side, deployment(side))
    side.others.edit(
        DEPLOYMENT, side.namespace, "web", lambda obj: container(obj).update(image="registry.example/theirs:1")
    )

    made = apply(side, deployment(side))

    assert container(made)["image"] == "registry.example/server:1"


def test_an_apply_without_force_is_stopped_by_what_others_own(side: Side) -> None:
    apply(side, config(side))

    with pytest.raises(Conflict, match=f'conflict with "{MANAGER}": .data.a'):
        side.others.apply(config(side, data={"a": "2"}), "somebody")

    assert live(side, CONFIG_MAP, "settings")["data"] == {"a": "1"}


def test_an_apply_with_the_same_value_shares_the_field(side: Side) -> None:
    apply(side, config(side))

    side.others.apply(config(side), "somebody")
    made = side.others.apply(config(side, data={}), "somebody")

    assert made["data"] == {"a": "1"}


def test_an_apply_leaves_replicas_alone_that_it_does_not_name(side: Side) -> None:
    create(side, deployment(side, replicas=2))
    side.others.scale(DEPLOYMENT, side.namespace, "web", 5)

    assert apply(side, deployment(side))["spec"]["replicas"] == 5


def test_dropping_replicas_that_only_we_applied_resets_them_to_one(side: Side) -> None:
    apply(side, deployment(side, replicas=3))

    assert apply(side, deployment(side))["spec"]["replicas"] == 1


def test_a_container_and_a_variable_that_others_added_stay(side: Side) -> None:
    create(side, deployment(side))

    def inject(obj: Object) -> None:
        container(obj)["env"].append({"name": "B", "value": "2"})
        obj["spec"]["template"]["spec"]["containers"].append({"name": "sidecar", "image": "registry.example/side:1"})

    side.others.edit(DEPLOYMENT, side.namespace, "web", inject)
    made = apply(side, deployment(side))

    assert [one["name"] for one in made["spec"]["template"]["spec"]["containers"]] == ["server", "sidecar"]
    assert container(made)["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]


def test_a_variable_that_we_applied_and_leave_out_is_taken_away(side: Side) -> None:
    first = deployment(side)
    container(first)["env"].append({"name": "B", "value": "2"})
    apply(side, first)

    assert container(apply(side, deployment(side)))["env"] == [{"name": "A", "value": "1"}]


def test_a_list_without_keys_and_a_selector_are_replaced_whole(side: Side) -> None:
    service = {**named(SERVICE, "web", side), "spec": {"selector": {"a": "1"}, "ports": [{"port": 80}]}}
    create(side, service)
    side.others.edit(SERVICE, side.namespace, "web", lambda obj: obj["spec"].update(selector={"a": "1", "b": "2"}))

    made = apply(side, service)

    assert made["spec"]["selector"] == {"a": "1"}
    assert [one["port"] for one in made["spec"]["ports"]] == [80]


def test_a_second_port_of_a_service_is_added_not_replaced(side: Side) -> None:
    service = {**named(SERVICE, "web", side), "spec": {"selector": {"a": "1"}, "ports": [{"name": "http", "port": 80}]}}
    create(side, service)
    service["spec"]["ports"] = [{"name": "metrics", "port": 90}]

    assert {one["port"] for one in apply(side, service)["spec"]["ports"]} == {80, 90}


def test_an_apply_that_changes_nothing_changes_no_version(side: Side) -> None:
    apply(side, deployment(side))
    before = version(live(side, DEPLOYMENT, "web"))

    answer = apply(side, deployment(side))

    assert version(answer) == before == version(live(side, DEPLOYMENT, "web"))


def test_the_first_apply_after_a_post_is_a_change_of_owners_and_so_a_new_version(side: Side) -> None:
    made = create(side, config(side))

    first = apply(side, config(side))
    second = apply(side, config(side))

    assert int(version(first)) > int(version(made))
    assert version(second) == version(first)


def test_a_selector_a_template_of_a_job_and_a_record_cannot_be_changed(side: Side) -> None:
    create(side, deployment(side))
    other = deployment(side, selector={"matchLabels": {"app": "web", "b": "c"}})
    other["spec"]["template"]["metadata"]["labels"]["b"] = "c"
    refused(side, Refused, lambda api: api.apply(other))

    create(side, job(side))
    changed = job(side)
    container(changed)["image"] = "registry.example/other:1"
    refused(side, Refused, lambda api: api.apply(changed))

    record = {**named(CONTROLLER_REVISION, "web", side), "revision": 1, "data": {"a": 1}}
    create(side, record)
    refused(side, Refused, lambda api: api.apply({**record, "data": {"a": 2}}))
