"""Who may ask for what, and how requests that nobody should make are answered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.unit.dashboard.pages import KEY, World, told

from tidegate.api import rollout
from tidegate.dashboard import serving
from tidegate.dashboard.board import Key
from tidegate.dashboard.guard import TOKEN
from tidegate.errors import Failed

ABORT = {"namespace": "shop", "name": "fraud", "verb": "abort"}
FRAUD = {**ABORT, "verb": "promote", "step": 2}
NO_ACT = "an act is {namespace, name, verb}, that of promote with its step"


class Person:
    """Who may act in `shop` and nowhere else."""

    def __init__(self) -> None:
        self.acted: list[tuple[Key, str, int | None]] = []

    async def refusal(self, namespace: str) -> str:
        return "" if namespace == "shop" else f"you may not patch in {namespace}"

    async def act(self, key: Key, verb: str, step: int | None) -> str:
        self.acted.append((key, verb, step))
        if verb == "abort":
            raise Failed("no version is being tried", where="fraud", do="see the status", reason="NothingToDo")
        return f"{verb} of {key[1]} was taken up"


async def post(world: World, body: Any = FRAUD, **headers: str) -> tuple[int, Any]:
    headers = {"Origin": world.root} | headers
    return await world.ask("/act", "POST", data=body if isinstance(body, bytes) else json.dumps(body), headers=headers)


def test_an_act_of_our_page_is_done() -> None:
    person = Person()

    async def story(world: World) -> None:
        assert await post(world) == (200, {"message": "promote of fraud was taken up"})
        assert await world.ask("/rights?namespace=shop") == (200, {"refusal": ""})
        assert await world.ask("/rights?namespace=bank") == (200, {"refusal": "you may not patch in bank"})

    told(story, acts=person)
    assert person.acted == [(("shop", "fraud"), "promote", 2)]


def test_an_act_that_fails_says_what_and_what_to_do() -> None:
    async def story(world: World) -> None:
        status, answer = await post(world, ABORT)
        assert status == 409
        assert answer["error"] == {
            "reason": "NothingToDo",
            "what": "no version is being tried",
            "where": "fraud",
            "do": "see the status",
        }

    told(story, acts=Person())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({TOKEN: ""}, 401), ({TOKEN: KEY + "x"}, 401), ({"Origin": "http://evil.example.com"}, 403), ({"Origin": "null"}, 403),
        ({"Host": "evil.example.com"}, 421), ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)  # fmt: skip
def test_an_act_of_anybody_else_is_refused(headers: dict[str, str], status: int) -> None:
    person = Person()

    async def story(world: World) -> None:
        assert (await post(world, **headers))[0] == status

    told(story, acts=person)
    assert person.acted == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b"\xff", {**FRAUD, "verb": "delete"}, {**FRAUD, "verb": 1}, {**FRAUD, "name": ""},
     {**FRAUD, "name": None}, {**ABORT, "verb": ["promote"]}, {**FRAUD, "more": 1}, {**ABORT, "verb": "promote"},
     {**ABORT, "step": 2}, {**FRAUD, "step": 0}, {**FRAUD, "step": 21}, {**FRAUD, "step": True}, {**FRAUD, "step": "2"}],
)  # fmt: skip
def test_an_act_that_is_none_is_refused(body: Any) -> None:
    person = Person()

    async def story(world: World) -> None:
        assert await post(world, body) == (400, {"error": {"what": NO_ACT}})

    told(story, acts=person)
    assert person.acted == []


def test_a_request_that_is_too_large_or_never_comes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.dashboard.serving.REQUEST_SECONDS", 0.2)

    async def story(world: World) -> None:
        assert (await post(world, b"x" * 10_000))[0] == 413
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        head = f"POST /act HTTP/1.1\r\nHost: 127.0.0.1:{world.port}\r\nOrigin: {world.root}\r\n{TOKEN}: {KEY}\r\nContent-Length: 99\r\n\r\n"
        writer.write(head.encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.close()

    told(story, acts=Person())


def test_without_acts_there_is_nothing_to_post_to() -> None:
    async def story(world: World) -> None:
        assert (await post(world))[0] == 404
        assert (await world.ask("/rights?namespace=shop"))[0] == 404
        assert (await world.ask("/", "POST"))[0] == 405

    told(story)


def test_what_is_of_the_cluster_needs_the_key_and_the_page_itself_does_not() -> None:
    async def story(world: World) -> None:
        for path, status in (
            ("/events", 401),
            ("/", 200),
            ("/app.js", 200),
            ("/style.css", 200),
            ("/../guard.py", 401),
            ("/x", 401),
        ):
            assert (await world.ask(path, headers={TOKEN: ""}))[0] == status, path

    told(story)


def test_without_a_key_everybody_may_read() -> None:
    """In the cluster: who may connect is the platform's to say."""

    async def story(world: World) -> None:
        async with world.page() as page:
            assert (await page.event())[0] == "hello"

    told(story, token="")


def test_a_proxy_is_asked_not_to_keep_events_to_itself() -> None:
    async def story(world: World) -> None:
        async with world.page() as page:
            assert page.answer.headers["X-Accel-Buffering"] == "no"
            assert page.answer.headers["Content-Type"] == "text/event-stream"

    told(story)


def test_a_name_that_was_allowed_is_ours() -> None:
    async def story(world: World) -> None:
        assert (await world.ask("/", headers={"Host": "models.example.com"}))[0] == 200
        status, answer = await world.ask("/", headers={"Host": "other.example.com"})
        assert status == 421
        assert answer["error"]["what"] == "this name is not ours: use localhost, or allow it"

    told(story, names=("models.example.com",))


@pytest.mark.parametrize("path", ["/", "/events", "/nothing"])
def test_every_answer_tells_the_browser_what_it_may_not_do(path: str) -> None:
    async def story(world: World) -> None:
        async with world.session.get(world.root + path, headers={TOKEN: KEY}) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "connect-src 'self'" in policy
            assert "require-trusted-types-for 'script'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert "Set-Cookie" not in answer.headers
            assert "Access-Control-Allow-Origin" not in answer.headers

    told(story)


def test_a_rollout_has_no_more_steps_than_the_page_may_name() -> None:
    assert serving.MAX_STEPS == rollout.MAX_STEPS
