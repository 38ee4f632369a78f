"""Events may be late, lost, doubled or out of order between kinds; of one kind they never overtake each other."""

from __future__ import annotations

from tests.fakes.apiserver import FakeApi
from tests.fakes.fields import Object
from tests.fakes.watching import Change, Watch

from tidegate.plan.manifests.identity import CONFIG_MAP, DEPLOYMENT, Kind

from .words import HERE, config, servers

Seen = list[tuple[str | None, str]]


def watched(api: FakeApi, selector: str = "") -> tuple[Watch, Seen]:
    seen: Seen = []

    def tell(kind: Kind, event: str | None, obj: Object) -> None:
        seen.append((event, obj["metadata"]["name"]))

    return api.subscribe(tell, {CONFIG_MAP: selector, DEPLOYMENT: selector}), seen


def change(api: FakeApi, value: str) -> None:
    api.users.edit(CONFIG_MAP, HERE, "settings", lambda obj: obj["data"].update(a=value))


def test_a_list_comes_first_and_then_what_happens() -> None:
    api = FakeApi()
    api.users.create(config("before"))

    _, seen = watched(api)
    api.users.create(config())
    change(api, "2")
    change(api, "2")
    api.users.delete(CONFIG_MAP, HERE, "settings")

    assert seen == [(None, "before"), ("ADDED", "settings"), ("MODIFIED", "settings"), ("DELETED", "settings")]


def test_held_events_arrive_in_order_when_they_are_released() -> None:
    api = FakeApi()
    watch, seen = watched(api)
    watch.hold()
    api.users.create(config())
    api.users.create(servers(1))
    change(api, "2")
    assert seen == []

    watch.release()

    assert seen == [("ADDED", "settings"), ("ADDED", "fraud-v1"), ("MODIFIED", "settings")]


def test_kinds_may_overtake_each_other() -> None:
    api = FakeApi()
    watch, seen = watched(api)
    watch.hold(CONFIG_MAP)
    api.users.create(config())
    api.users.create(servers(1))
    change(api, "2")

    watch.release(CONFIG_MAP)

    assert seen == [("ADDED", "fraud-v1"), ("ADDED", "settings"), ("MODIFIED", "settings")]


def test_kinds_arrive_in_the_order_in_which_they_are_released() -> None:
    api = FakeApi()
    watch, seen = watched(api)
    watch.hold()
    api.users.create(config())
    api.users.create(servers(1))

    watch.release(DEPLOYMENT, CONFIG_MAP)

    assert [name for _, name in seen] == ["fraud-v1", "settings"]


def test_a_client_that_pauses_sees_only_the_newest_state() -> None:
    api = FakeApi()
    watch, seen = watched(api)
    watch.hold()
    api.users.create(config())
    change(api, "2")
    change(api, "3")

    watch.release(newest_only=True)

    assert seen == [("MODIFIED", "settings")]


def test_events_are_lost_or_doubled_as_a_test_says() -> None:
    api = FakeApi()
    watch, seen = watched(api)
    watch.copies = lambda event: {1: 2, 2: 0}.get(event.number, 1)

    api.users.create(config())
    change(api, "2")
    change(api, "3")

    assert seen == [("ADDED", "settings"), ("ADDED", "settings"), ("MODIFIED", "settings")]


def test_the_number_of_an_event_does_not_depend_on_what_was_lost() -> None:
    api = FakeApi()
    watch, _ = watched(api)
    numbers: list[int] = []

    def count(event: Change) -> int:
        numbers.append(event.number)
        return 0

    watch.copies = count
    for value in ("2", "3"):
        api.users.create(config(f"settings-{value}"))

    assert numbers == [1, 2]


def test_a_new_list_tells_what_is_there_and_not_what_is_gone() -> None:
    api = FakeApi()
    watch, seen = watched(api)
    complete: list[tuple[Kind, frozenset[tuple[str, str]], int]] = []
    watch.after_list = lambda *told: complete.append(told)
    api.users.create(config("stays"))
    api.users.create(config("goes"))
    watch.hold(CONFIG_MAP)
    api.users.delete(CONFIG_MAP, HERE, "goes")
    seen.clear()

    watch.relist(CONFIG_MAP)

    assert seen == [(None, "stays")]
    assert complete == [(CONFIG_MAP, frozenset({(HERE, "stays")}), api.cluster.objects.version)]
    assert watch.waiting() == ()


def test_an_object_that_loses_its_label_leaves_the_watch() -> None:
    api = FakeApi()
    _, seen = watched(api, "mine=yes")
    obj = api.users.create(config(mine="yes"))

    api.users.label(obj, {"mine": None})
    api.users.label(obj, {"mine": "yes"})

    assert seen == [("ADDED", "settings"), ("DELETED", "settings"), ("ADDED", "settings")]


def test_a_client_cannot_change_the_world_through_what_it_was_told() -> None:
    api = FakeApi()
    api.subscribe(lambda kind, event, obj: obj["data"].update(a="changed"), {CONFIG_MAP: ""})

    api.users.create(config())

    assert api.users.get(CONFIG_MAP, HERE, "settings")["data"] == {"a": "1"}
