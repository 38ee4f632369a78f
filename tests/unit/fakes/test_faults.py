"""A fake that fails when it is told to, and as it is told to: the perturbation suite stands on this."""

from __future__ import annotations

import asyncio

import pytest
from tests.fakes.apiserver import FakeApi
from tests.fakes.faults import ERRORS, Call, Crash, any_write, calls_of

from tidegate.cluster.errors import ApiDown, ClusterError, Conflict, NotFound, Throttled
from tidegate.plan.manifests.identity import CONFIG_MAP, DEPLOYMENT

from .words import HERE, config, done, servers


def names(api: FakeApi) -> list[str]:
    return [obj["metadata"]["name"] for obj in api.cluster.listed(CONFIG_MAP)]


def test_a_planned_fault_strikes_once_and_before_the_server_sees_the_call() -> None:
    api = FakeApi()
    api.faults.fail(calls_of("create", kind=CONFIG_MAP), "503")

    with pytest.raises(ApiDown):
        done(api.create(config()))
    assert names(api) == []

    done(api.create(config()))
    assert names(api) == ["settings"]


def test_a_lost_answer_leaves_the_write_behind() -> None:
    api = FakeApi()
    api.faults.fail(any_write, "timeout", after=True)

    with pytest.raises(ApiDown):
        done(api.create(config()))

    assert names(api) == ["settings"]
    assert api.faults.writes == 1


def test_the_n_th_call_and_the_n_th_write_are_counted_apart() -> None:
    api = FakeApi()
    api.faults.fail_call(2, "500")
    api.faults.fail_write(2, "409")

    done(api.create(config("one")))
    with pytest.raises(ApiDown):
        done(api.get(CONFIG_MAP, HERE, "one"))
    with pytest.raises(Conflict):
        done(api.create(config("two")))

    assert [str(call) for call in api.faults.log] == [
        "1: create ConfigMap default/one",
        "2: get ConfigMap default/one",
        "3: create ConfigMap default/two",
    ]


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_by_name_is_one_of_the_clients(name: str) -> None:
    api = FakeApi()
    api.faults.fail(calls_of("get"), name)

    with pytest.raises(ClusterError):
        done(api.get(CONFIG_MAP, HERE, "settings"))


def test_a_throttled_client_is_told_for_how_long() -> None:
    api = FakeApi()
    api.faults.fail(calls_of("list"), "429")

    with pytest.raises(Throttled) as caught:
        done(api.list(CONFIG_MAP, None, ""))

    assert caught.value.retry_after == 2.0


def test_a_server_that_is_down_is_up_again() -> None:
    api = FakeApi()
    api.faults.down()
    for _ in range(3):
        with pytest.raises(ApiDown):
            done(api.create(config()))

    api.faults.up()
    done(api.create(config()))

    assert names(api) == ["settings"]


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_crash_comes_after_the_k_th_write_and_a_dead_client_does_nothing_more(writes: int) -> None:
    api = FakeApi()
    api.faults.crash_after_write = writes
    seen: list[str] = []
    api.subscribe(lambda kind, event, obj: seen.append(obj["metadata"]["name"]))

    with pytest.raises(Crash):
        for name in ("one", "two", "three"):
            done(api.get(CONFIG_MAP, HERE, name))
            done(api.create(config(name)))
    with pytest.raises(Crash):
        done(api.get(CONFIG_MAP, HERE, "one"))
    FakeApi(api.cluster).users.create(config("later"))

    assert names(api) == sorted([*("one", "two")[:writes], "later"])
    assert "later" not in seen


def test_no_except_of_the_product_survives_a_crash() -> None:
    assert not issubclass(Crash, Exception)


def test_a_write_that_the_server_refuses_is_sent_and_not_done() -> None:
    api = FakeApi()
    done(api.create(config()))

    with pytest.raises(ClusterError):
        done(api.create(config()))

    assert (len(api.faults.log), api.faults.writes) == (2, 1)


def test_reads_can_be_frozen_at_an_old_version_by_kind() -> None:
    api = FakeApi()
    done(api.create(config(value="old")))
    done(api.create(servers(1)))
    then = api.cluster.objects.version
    api.users.edit(CONFIG_MAP, HERE, "settings", lambda obj: obj["data"].update(a="new"))
    api.users.create(config("later"))
    api.users.scale(DEPLOYMENT, HERE, "fraud-v1", 7)
    api.faults.freeze(then, CONFIG_MAP)

    stale, later = done(api.get(CONFIG_MAP, HERE, "settings")), done(api.get(CONFIG_MAP, HERE, "later"))
    listed = done(api.list(CONFIG_MAP, HERE, ""))
    fresh = done(api.get(DEPLOYMENT, HERE, "fraud-v1"))

    assert stale is not None
    assert fresh is not None
    assert (stale["data"]["a"], later, len(listed), fresh["spec"]["replicas"]) == ("old", None, 1, 7)
    api.faults.up()
    assert len(done(api.list(CONFIG_MAP, HERE, ""))) == 2


def test_what_was_deleted_is_still_there_in_a_stale_read() -> None:
    api = FakeApi()
    made = done(api.create(config()))
    api.faults.freeze(api.cluster.objects.version, CONFIG_MAP)

    done(api.delete(CONFIG_MAP, HERE, "settings", made["metadata"]["uid"]))

    assert done(api.get(CONFIG_MAP, HERE, "settings")) is not None
    assert names(api) == []


def test_a_call_can_be_held_up_while_others_go_on() -> None:
    api = FakeApi()

    async def two_at_once() -> list[str]:
        gate = asyncio.Event()

        async def wait(call: Call) -> None:
            if call.name == "slow":
                await gate.wait()

        api.faults.before = wait
        slow = asyncio.create_task(api.create(config("slow")))
        await api.create(config("quick"))
        before = names(api)
        gate.set()
        await slow
        return before

    assert done(two_at_once()) == ["quick"]
    assert names(api) == ["quick", "slow"]


def test_an_admission_rule_may_change_or_refuse_what_comes_in() -> None:
    api = FakeApi()

    def inject(operation: str, obj: dict[str, object]) -> None:
        if operation == "CREATE" and obj["kind"] == "Deployment":
            containers = obj["spec"]["template"]["spec"]["containers"]  # type: ignore[index]
            containers.append({"name": "sidecar", "image": "registry.example/side:1"})

    api.cluster.admission.append(inject)
    made = done(api.create(servers(1)))

    assert [one["name"] for one in made["spec"]["template"]["spec"]["containers"]] == ["server", "sidecar"]


def test_whoever_checks_is_called_after_each_write_and_before_the_crash() -> None:
    api = FakeApi()
    api.faults.crash_after_write = 2
    checked: list[tuple[str, int]] = []
    api.after_write.append(lambda call: checked.append((call.name, len(names(api)))))

    with pytest.raises(Crash):
        for name in ("one", "two", "three"):
            done(api.get(CONFIG_MAP, HERE, name))
            done(api.create(config(name)))

    assert checked == [("one", 1), ("two", 2)]


def test_writes_are_counted_as_sent_and_as_done() -> None:
    api = FakeApi()
    api.faults.fail_write(1, "503")
    with pytest.raises(ApiDown):
        done(api.create(config()))
    done(api.create(config()))
    done(api.get(CONFIG_MAP, HERE, "settings"))

    assert (api.faults.sent, api.faults.writes) == (2, 1)


def test_a_kind_whose_definition_is_gone_is_not_found() -> None:
    api = FakeApi()
    made = done(api.create(config()))
    api.cluster.absent_kinds.add(CONFIG_MAP)

    assert done(api.get(CONFIG_MAP, HERE, "settings")) is None
    for work in (lambda: api.list(CONFIG_MAP, HERE, ""), lambda: api.create(config("x")), lambda: api.put_status(made)):
        with pytest.raises(NotFound):
            done(work())
