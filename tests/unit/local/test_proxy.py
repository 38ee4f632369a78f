"""What the files say that Envoy follows, also when it did not take an update in time."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tidegate.errors import UsageError
from tidegate.internal.calls import Answer, NoAnswer
from tidegate.local import proxy as module
from tidegate.local.children import Lifeline
from tidegate.local.proxy import Proxy, ProxyFailed, free_port
from tidegate.local.routes import Backend, Listen, ModelRoute

BEFORE = (ModelRoute("fraud", weights={"aaa": 100}, backends=(Backend("aaa", 1, "1.0", (7001,)),)),)
AFTER = (ModelRoute("fraud", weights={"bbb": 100}, backends=(Backend("bbb", 2, "2.0", (7002,)),)),)


class Listener:
    """Stands in for Envoy's statistics: the versions that the files have, unless it is deaf."""

    def __init__(self) -> None:
        self.folder = Path()
        self.deaf = False

    async def call(self, *_: Any) -> Answer:
        if self.deaf:
            raise NoAnswer("no answer")
        version = {module.ROUTES_VERSION: self.read("routes"), module.CLUSTERS_VERSION: self.read("clusters")}
        for path in self.folder.glob("endpoints-*.json"):
            name = path.stem.removeprefix("endpoints-").replace(".", "/")
            version[f"cluster.{name}.version_text"] = self.read(path.stem)
        return Answer(200, "\n".join(f'{name}: "{text}"' for name, text in version.items()).encode())

    def read(self, name: str) -> str:
        path = self.folder / f"{name}.json"
        return str(json.loads(path.read_text())["version_info"]) if path.exists() else ""


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Listener:
    found = Listener()
    monkeypatch.setattr(module, "call", found.call)
    monkeypatch.setattr(module, "TAKE_SECONDS", 0.02)
    return found


@pytest.fixture
def proxy(tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lifeline = Lifeline.open()
    found = Proxy(tmp_path / "envoy", Listen("127.0.0.1", 1), tmp_path / "log", lifeline)
    listener.folder = found.folder
    yield found
    lifeline.close()


def routed(proxy: Proxy) -> str:
    return (proxy.folder / "routes.json").read_text()


def clusters(proxy: Proxy) -> str:
    return (proxy.folder / "clusters.json").read_text()


def not_taken(proxy: Proxy, listener: Listener, models: tuple[ModelRoute, ...]) -> None:
    listener.deaf = True
    with pytest.raises(ProxyFailed):
        asyncio.run(proxy.publish(models))
    listener.deaf = False


def test_an_update_that_was_not_taken_is_taken_back(proxy: Proxy, listener: Listener) -> None:
    asyncio.run(proxy.publish(BEFORE))
    not_taken(proxy, listener, AFTER)
    not_taken(proxy, listener, BEFORE)

    asyncio.run(proxy.publish(BEFORE))

    assert "fraud/aaa" in routed(proxy)
    assert "fraud/bbb" not in clusters(proxy)
    assert proxy.acknowledged == BEFORE


def test_clusters_of_an_update_that_may_be_in_effect_stay_until_another_is(proxy: Proxy, listener: Listener) -> None:
    asyncio.run(proxy.publish(BEFORE))
    not_taken(proxy, listener, AFTER)
    not_taken(proxy, listener, (ModelRoute("fraud"),))

    assert "fraud/aaa" in clusters(proxy)
    assert "fraud/bbb" in clusters(proxy)


def test_an_address_of_another_machine_is_named_as_such() -> None:
    with pytest.raises(UsageError, match="this is no address of this machine"):
        free_port(Listen("203.0.113.5", 0))
