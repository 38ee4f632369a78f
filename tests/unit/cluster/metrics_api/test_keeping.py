"""The metrics API over time: what stands in its way is told once, certificates are renewed, its place is kept."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.unit.cluster.wire import connected, serving

from tidegate.cluster.metrics_api import keeping
from tidegate.cluster.metrics_api.front_proxy import AUTHORITY, NAMES
from tidegate.cluster.metrics_api.keeping import MetricsApi, Place
from tidegate.cluster.metrics_api.registration import NAME, REGISTERED
from tidegate.cluster.metrics_api.server import MetricsServer

from .calling import HOST, Loads, Signer

API_SERVICE = f"/apis/apiregistration.k8s.io/v1/apiservices/{REGISTERED}"
CONFIG_MAP = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
ROLE = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{NAME}"
SERVICE = f"/api/v1/namespaces/tidegate/services/{NAME}"
SLICE = f"/apis/discovery.k8s.io/v1/namespaces/tidegate/endpointslices/{NAME}-ipv4"
DAY = 24 * 3600.0


class Scene:
    """An API server made of a dictionary by path, a metrics API that looks all the time, and a clock."""

    def __init__(self, signer: Signer) -> None:
        self.objects: dict[str, dict[str, Any]] = {
            CONFIG_MAP: front_proxy(signer), SERVICE: named("v1", "Service"),
            ROLE: named("rbac.authorization.k8s.io/v1", "ClusterRole"),
        }  # fmt: skip
        self.writes: list[str] = []
        self.looks = 0
        self.now = 0.0
        self.api: MetricsApi

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path, content = request.path, await request.read()
        self.looks += path == CONFIG_MAP
        if request.method == "GET":
            found = self.objects.get(path)
            return web.json_response(found or {"kind": "Status", "code": 404}, status=200 if found else 404)
        obj = json.loads(content)
        path = f"{path}/{obj['metadata']['name']}" if request.method == "POST" else path
        obj["metadata"]["resourceVersion"] = str(len(self.writes))
        self.objects[path] = obj
        self.writes.append(f"{request.method} {obj['kind']}")
        return web.json_response(obj)

    async def look(self) -> None:
        """Wait until it has looked once more, from the beginning to the end."""
        until = self.looks + 2
        while self.looks < until:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    @property
    def port(self) -> int:
        found: int = self.objects[SLICE]["ports"][0]["port"]
        return found

    async def shown(self, by: Path) -> bytes:
        """The certificate that is shown to who shows this one; by the authority that the APIService names."""
        authority = base64.b64decode(self.objects[API_SERVICE]["spec"]["caBundle"]).decode()
        context = ssl.create_default_context(cadata=authority)
        context.load_cert_chain(by)
        _, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=HOST)
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return found


def named(api_version: str, kind: str) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": NAME, "uid": f"uid-of-{kind}"}}


def front_proxy(signer: Signer) -> dict[str, Any]:
    return {"data": {AUTHORITY: signer.pem, NAMES: "[]"}}


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer(tmp_path)


@pytest.fixture
def play(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Play a scene, which begins before the first look."""
    monkeypatch.setattr(keeping, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(keeping, "AFTER_TROUBLE_SECONDS", 0.01)

    def played(script: Callable[[Scene], Awaitable[None]], prepare: Callable[[Scene], object] = lambda _: None) -> None:
        async def main() -> None:
            scene = Scene(signer)
            prepare(scene)
            async with asyncio.timeout(20), serving((200, {})) as wire, connected(wire) as connection:
                wire.handle = scene.answer
                server = MetricsServer(Loads(), lambda key: True, lambda code: None)
                scene.api = MetricsApi(connection, Place("127.0.0.1", 0, "tidegate"), server, lambda: scene.now)
                running = asyncio.create_task(scene.api.run())
                try:
                    await scene.look()
                    await script(scene)
                finally:
                    running.cancel()
                    await asyncio.wait({running})

        asyncio.run(main())

    return played


def test_it_writes_where_it_is_once(play: Callable[..., None], signer: Signer) -> None:
    async def script(scene: Scene) -> None:
        await scene.look()

        assert scene.writes == ["POST EndpointSlice", "POST APIService"]
        assert scene.api.holds
        owner = scene.objects[API_SERVICE]["metadata"]["ownerReferences"][0]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("ClusterRole", NAME, "uid-of-ClusterRole")
        assert await scene.shown(signer.certificate())

    play(script)


def test_a_place_that_is_taken_is_told_once_and_not_taken(
    play: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    def prepare(scene: Scene) -> None:
        scene.objects[API_SERVICE] = {"spec": {"service": {"namespace": "keda", "name": "keda-metrics-apiserver"}}}

    async def script(scene: Scene) -> None:
        await scene.look()
        assert (scene.writes, scene.api.holds) == ([], False)
        del scene.objects[API_SERVICE]
        await scene.look()
        assert scene.api.holds

    play(script, prepare)
    told = [line.message for line in caplog.records if "not served by us" in line.message]
    assert len(told) == 1
    assert "belongs to the Service keda/keda-metrics-apiserver, and stays so: read docs/autoscaling.md" in told[0]


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        (SERVICE, "the chart's Service tidegate-metrics-api is not there: install the chart with metricsApi.enabled"),
        (ROLE, "the chart's ClusterRole tidegate-metrics-api is not there"),
        (CONFIG_MAP, "says nothing of a front proxy"),
    ],
)
def test_what_is_missing_is_told_and_waited_for(
    play: Callable[..., None], caplog: pytest.LogCaptureFixture, missing: str, says: str
) -> None:
    found: dict[str, dict[str, Any]] = {}

    async def script(scene: Scene) -> None:
        assert not scene.api.holds
        scene.objects |= found
        await scene.look()
        assert scene.api.holds

    play(script, lambda scene: found.update({missing: scene.objects.pop(missing)}))
    assert says in caplog.text


def test_what_somebody_changes_of_it_is_changed_back(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        spec, before = scene.objects[API_SERVICE]["spec"], scene.objects[API_SERVICE]["spec"]["caBundle"]
        spec["caBundle"] = "bm9uc2Vuc2U="
        await scene.look()

        assert scene.objects[API_SERVICE]["spec"]["caBundle"] == before
        assert scene.writes[2:] == ["PATCH APIService"]

    play(script)


def test_a_day_later_another_certificate_is_shown_of_which_nobody_has_to_be_told(
    play: Callable[..., None], signer: Signer
) -> None:
    async def script(scene: Scene) -> None:
        before, by = await scene.shown(signer.certificate()), signer.certificate()
        scene.now += DAY - 1
        await scene.look()
        assert await scene.shown(by) == before
        scene.now += 1
        await scene.look()

        assert await scene.shown(by) != before
        assert len(scene.writes) == 2

    play(script)


def test_another_authority_of_the_front_proxy_is_believed_instead(
    play: Callable[..., None], signer: Signer, tmp_path: Path
) -> None:
    async def script(scene: Scene) -> None:
        before = await scene.shown(signer.certificate())
        scene.objects[CONFIG_MAP] = front_proxy(following := Signer(tmp_path))
        await scene.look()

        assert await scene.shown(following.certificate()) != before

    play(script)


def test_a_bug_does_not_end_it(play: Callable[..., None], signer: Signer, caplog: pytest.LogCaptureFixture) -> None:
    def prepare(scene: Scene) -> None:
        scene.objects[CONFIG_MAP] = {"data": ["what no API server answers"]}

    async def script(scene: Scene) -> None:
        assert not scene.api.holds
        scene.objects[CONFIG_MAP] = front_proxy(signer)
        await scene.look()
        assert scene.api.holds

    play(script, prepare)
    assert "a bug" in caplog.text
