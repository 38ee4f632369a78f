"""HTTPS for the front proxy alone; a new certificate or another authority takes effect while connections go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from tidegate.cluster.metrics_api.load import Unread
from tidegate.cluster.metrics_api.server import MOST_AT_ONCE, ROOT
from tidegate.errors import Failed

from .calling import QUESTION, Caller, Loads, Signer, serving


def play(signer: Signer, scene: Callable[[Caller], Awaitable[None]], loads: Loads | None = None) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), serving(signer, loads) as caller:
            await scene(caller)

    asyncio.run(main())


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer(tmp_path)


def test_the_front_proxy_is_answered(signer: Signer) -> None:
    async def scene(caller: Caller) -> None:
        code, answer = await caller.ask()

        assert code == 200
        assert [item["value"] for item in answer["items"]] == ["5000m"]
        assert [item["window"] for item in answer["items"]] == [10]
        assert caller.codes == [200]

    play(signer, scene)


def test_nobody_is_answered_without_a_certificate_or_with_one_of_another_authority(
    signer: Signer, tmp_path: Path
) -> None:
    async def scene(caller: Caller) -> None:
        async with caller.session(None) as session:
            with pytest.raises(aiohttp.ClientError):
                await caller.over(session)
        with pytest.raises(aiohttp.ClientError):
            await caller.ask(shown=Signer(tmp_path).certificate())
        assert caller.codes == []

    play(signer, scene)


def test_a_certificate_of_the_authority_for_another_name_is_refused(signer: Signer) -> None:
    async def scene(caller: Caller) -> None:
        code, answer = await caller.ask(shown=signer.certificate("somebody"))

        assert (code, answer["reason"]) == (401, "Unauthorized")
        assert "ask the API server" in answer["message"]

    play(signer, scene)


def test_another_certificate_is_shown_to_new_connections_and_ends_no_old_one(signer: Signer) -> None:
    async def scene(caller: Caller) -> None:
        async with caller.session(signer.certificate()) as before:
            assert (await caller.over(before))[0] == 200
            caller.believe(signer, "front-proxy-client")
            assert (await caller.over(before))[0] == 200
        assert (await caller.ask())[0] == 200

    play(signer, scene)


def test_an_authority_that_is_no_more_is_believed_no_more(signer: Signer, tmp_path: Path) -> None:
    async def scene(caller: Caller) -> None:
        next_signer = Signer(tmp_path)
        caller.believe(next_signer, "front-proxy-client")

        assert (await caller.ask(shown=next_signer.certificate()))[0] == 200
        with pytest.raises(aiohttp.ClientError):
            await caller.ask(shown=signer.certificate())

    play(signer, scene)


@pytest.mark.parametrize(
    ("path", "method", "code", "reason", "says"),
    [
        (QUESTION.replace("concurrency", "speed"), "GET", 404, "NotFound", "there are tidegate_concurrency,"),
        (QUESTION.replace("fraud", "frau"), "GET", 404, "NotFound", "no ModelDeployment 'frau' in namespace 'shop'"),
        (QUESTION.replace("shop", "bank"), "GET", 404, "NotFound", "in namespace 'bank'"),
        (QUESTION.partition("?")[0], "GET", 400, "BadRequest", "model=NAME"),
        (QUESTION, "DELETE", 405, "MethodNotAllowed", "read-only"),
        ("/openapi/v2", "GET", 404, "NotFound", ROOT),
    ],
)
def test_what_cannot_be_answered_is_a_status_that_says_why(
    signer: Signer, path: str, method: str, code: int, reason: str, says: str
) -> None:
    async def scene(caller: Caller) -> None:
        got, answer = await caller.ask(path, method=method)

        assert (got, answer["kind"], answer["code"], answer["reason"]) == (code, "Status", code, reason)
        assert says in answer["message"]

    play(signer, scene)


def test_servers_that_are_not_ready_are_no_load_of_zero(signer: Signer) -> None:
    async def scene(caller: Caller) -> None:
        code, answer = await caller.ask()

        assert (code, answer["reason"]) == (503, "ServiceUnavailable")
        assert answer["message"] == "no server of fraud is ready"
        assert answer["details"] == {"retryAfterSeconds": 1}

    play(signer, scene, Loads(Unread("no server of fraud is ready")))


def test_servers_without_a_gpu_do_not_tell_its_utilization(signer: Signer) -> None:
    async def scene(caller: Caller) -> None:
        code, answer = await caller.ask(QUESTION.replace("concurrency", "gpu_utilization"))

        assert code == 503
        assert "do not tell tidegate_gpu_utilization" in answer["message"]

    play(signer, scene)


def test_a_bug_is_an_answer_and_a_line_in_the_log(signer: Signer, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(caller: Caller) -> None:
        assert (await caller.ask())[0] == 500

    play(signer, scene, Loads(RuntimeError("what now")))
    assert "a bug" in caplog.text


def test_no_more_questions_are_answered_at_once_than_there_is_room_for(signer: Signer) -> None:
    loads = Loads()

    async def scene(caller: Caller) -> None:
        loads.waits = asyncio.Event()
        async with caller.session(signer.certificate()) as session:
            asking = [asyncio.create_task(caller.over(session)) for _ in range(MOST_AT_ONCE)]
            while len(loads.asked) < MOST_AT_ONCE:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

            code, answer = await caller.ask()

            assert (code, answer["reason"], answer["details"]) == (429, "TooManyRequests", {"retryAfterSeconds": 1})
            loads.waits.set()
            assert {code for code, _ in await asyncio.gather(*asking)} == {200}

    play(signer, scene, loads)


def test_what_there_is_can_be_discovered(signer: Signer) -> None:
    async def scene(caller: Caller) -> None:
        _, listed = await caller.ask(ROOT)
        _, groups = await caller.ask("/apis")
        _, group = await caller.ask("/apis/external.metrics.k8s.io")

        assert [one["verbs"] for one in listed["resources"]] == [["get"]] * 4
        assert groups["groups"] == [group]

    play(signer, scene)


def test_a_port_that_is_taken_is_told(signer: Signer) -> None:
    async def scene(caller: Caller) -> None:
        other = Caller(signer, Loads())
        with pytest.raises(Failed, match="cannot listen"):
            await other.server.start("127.0.0.1", caller.port)
        await other.server.stop()

    play(signer, scene)
