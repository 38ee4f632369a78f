"""kopf's watches of a real API server: everything that is ours is seen, and nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.cluster.connecting import config_map, deployment, login_as, model_deployment, run
from tests.control_plane.plane import Plane
from tests.control_plane.users import ADMIN, OPERATOR, User

from tidegate.cluster.api import Key
from tidegate.cluster.seen import Cache
from tidegate.cluster.watch import KINDS, Watches
from tidegate.plan.manifests.identity import CONFIG_MAP, DEPLOYMENT, MODEL_DEPLOYMENT, POD

PATIENCE = 30.0


class Watcher:
    """Watches under way, and what they show."""

    def __init__(self, watches: Watches, cache: Cache, woken: list[Key]) -> None:
        self.watches, self.cache, self.woken = watches, cache, woken
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(watches.run(self.stop))

    async def until(self, holds: Callable[[], Any], what: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                assert not self.task.done(), f"the watches ended before {what}"
                await asyncio.sleep(0.01)


def watched(
    plane: Plane, story: Callable[[Watcher], Awaitable[None]], namespaces: tuple[str, ...] = (), user: User = ADMIN
) -> Watcher:
    async def main() -> Watcher:
        cache, woken = Cache(), list[Key]()
        watcher = Watcher(Watches(await login_as(plane, user), cache, woken.append, namespaces), cache, woken)
        try:
            await watcher.until(watcher.watches.filled.is_set, "everything was listed")
            await story(watcher)
            watcher.stop.set()
            await watcher.task
        finally:
            watcher.task.cancel()
            await asyncio.gather(watcher.task, return_exceptions=True)
        return watcher

    return run(main())


async def aside(work: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.to_thread(work, *arguments)


def test_what_is_there_is_seen_when_the_caches_are_filled(control_plane: Plane, namespace: str) -> None:
    control_plane.client.create(model_deployment(namespace))
    control_plane.client.create(deployment(namespace, replicas=0))
    stranger = config_map(namespace, "not-ours")
    del stranger["metadata"]["labels"]
    control_plane.client.create(stranger)

    async def story(watcher: Watcher) -> None:
        assert watcher.cache.get(MODEL_DEPLOYMENT, namespace, "fraud")
        assert watcher.cache.get(DEPLOYMENT, namespace, "fraud-abc")
        assert watcher.cache.get(CONFIG_MAP, namespace, "not-ours") is None
        assert (namespace, "fraud") in watcher.woken

    watched(control_plane, story)


def test_changes_and_deletions_are_seen(control_plane: Plane, namespace: str) -> None:
    client = control_plane.client

    async def story(watcher: Watcher) -> None:
        def data() -> Any:
            return (watcher.cache.get(CONFIG_MAP, namespace, "fraud-access") or {}).get("data")

        await aside(client.create, config_map(namespace, a="1"))
        await watcher.until(lambda: data() == {"a": "1"}, "it was made")
        await aside(client.patch, "configmaps", namespace, "fraud-access", {"data": {"a": "2"}})
        await watcher.until(lambda: data() == {"a": "2"}, "it was changed")
        await aside(client.delete, "configmaps", namespace, "fraud-access")
        await watcher.until(lambda: data() is None, "it was deleted")
        assert watcher.woken.count((namespace, "fraud")) == 3

    watched(control_plane, story)


def test_an_object_that_loses_our_label_is_gone_for_us(control_plane: Plane, namespace: str) -> None:
    control_plane.client.create(config_map(namespace))

    async def story(watcher: Watcher) -> None:
        before = watcher.woken.count((namespace, "fraud"))
        bare = {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}
        await aside(control_plane.client.patch, "configmaps", namespace, "fraud-access", bare)
        await watcher.until(lambda: not watcher.cache.of(namespace, "fraud"), "it was missed")
        assert watcher.woken.count((namespace, "fraud")) == before + 1

    watched(control_plane, story)


def test_pods_of_a_deployment_are_seen_with_their_state(control_plane: Plane, namespace: str) -> None:
    control_plane.client.create(deployment(namespace, replicas=1))

    async def story(watcher: Watcher) -> None:
        def phases() -> list[str]:
            pods = watcher.cache.of_kind(POD, namespace, "fraud")
            return [pod["status"].get("phase", "") for pod in pods]

        await watcher.until(lambda: phases() == ["Running"], "it runs")

    watched(control_plane, story)


def test_nothing_is_written(control_plane: Plane, namespace: str) -> None:
    before = control_plane.client.create(model_deployment(namespace))
    mark = control_plane.audit.mark()

    async def story(watcher: Watcher) -> None:
        await aside(control_plane.client.create, config_map(namespace))
        await watcher.until(lambda: watcher.cache.get(CONFIG_MAP, namespace, "fraud-access"), "it was seen")

    watched(control_plane, story)

    ours = [one for one in control_plane.audit.since(mark) if one.agent.startswith("tidegate-operator")]
    assert ours
    assert [one for one in ours if one.writes] == []
    assert control_plane.client.read("modeldeployments", namespace, "fraud") == before


def test_a_role_in_a_namespace_is_enough_to_watch_it(control_plane: Plane, namespace: str) -> None:
    rules = [
        {"apiGroups": [kind.api_version.rpartition("/")[0]], "resources": [kind.plural], "verbs": ["list", "watch"]}
        for kind in KINDS
    ]
    about = {"namespace": namespace, "name": "watcher"}
    group = "rbac.authorization.k8s.io"
    subject = {"apiGroup": group, "kind": "User", "name": OPERATOR.name}
    reference = {"apiGroup": group, "kind": "Role", "name": "watcher"}
    control_plane.client.create({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": about, "rules": rules})
    control_plane.client.create({
        "apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": about, "roleRef": reference,
        "subjects": [subject],
    })  # fmt: skip
    control_plane.client.create(model_deployment(namespace))

    async def story(watcher: Watcher) -> None:
        assert watcher.cache.deployments() == [(namespace, "fraud")]

    watched(control_plane, story, (namespace,), OPERATOR)


@pytest.mark.parametrize("count", [700])
def test_more_objects_than_a_page_holds_are_all_there(control_plane: Plane, namespace: str, count: int) -> None:
    for number in range(count):
        control_plane.client.create(config_map(namespace, f"c{number}"))

    async def story(watcher: Watcher) -> None:
        assert len(watcher.cache.of(namespace, "fraud")) == count

    watched(control_plane, story)
