"""What pages are told while the world goes on: at once, only what is new, and never more than they can take."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.unit.dashboard.pages import Page, World, told

from tidegate.errors import Failed

BIG = "x" * 100_000


def test_a_page_is_told_what_is_there_and_then_what_changes() -> None:
    async def story(world: World) -> None:
        world.put("fraud", weight=10)
        async with world.page() as page:
            while "fraud" not in page.names:
                await page.changes()
            world.put("churn")
            world.put("fraud", weight=40)
            await page.changes()
            assert set(page.names) == {"fraud", "churn"}
            assert page.names["fraud"]["weight"] == 40
            world.drop("churn")
            await page.changes()
            assert set(page.names) == {"fraud"}

    told(story)


def test_a_page_that_comes_back_is_told_only_what_it_has_missed() -> None:
    async def story(world: World) -> None:
        world.put("fraud", weight=10)
        world.put("churn")
        async with world.page() as page:
            while len(page.names) < 2:
                await page.changes()
        world.put("fraud", weight=40)
        async with world.page(page.position) as again:
            changes = await again.changes()

        assert changes["reset"] is False
        assert [one["name"] for one in changes["put"]] == ["fraud"]

    told(story)


def test_a_page_of_another_server_begins_anew() -> None:
    async def story(world: World) -> None:
        world.put("fraud")
        async with world.page("cd-7") as page:
            assert (await page.changes())["reset"] is True

    told(story)


def test_a_quiet_stream_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.dashboard.serving.BEAT_SECONDS", 0.05)

    async def story(world: World) -> None:
        async with world.page() as page:
            names = [(await page.event())[0] for _ in range(5)]
            assert names[0] == "hello"
            assert names[-2:] == ["beat", "beat"]

    told(story)


def test_a_slow_page_is_told_fewer_and_newer_forms() -> None:
    """It does not read while a rollout changes four hundred times; what waits for it is what the system buffers."""

    async def story(world: World) -> None:
        async with world.page() as page:
            await page.event()
            for number in range(400):
                world.put("fraud", number=number, text=BIG)
                await asyncio.sleep(0)
                if number % 10 == 0:
                    await asyncio.sleep(0.025)
            events = 0
            while page.names.get("fraud", {}).get("number") != 399:
                await page.changes()
                events += 1
            assert events < 60

    told(story)


def test_a_page_that_takes_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.dashboard.serving.TAKE_SECONDS", 0.2)

    async def story(world: World) -> None:
        for number in range(300):
            world.put(str(number), text=BIG)  # 30 MB: more than the system keeps for a connection
        _, writer = await asyncio.open_connection("127.0.0.1", world.port, limit=1024)
        writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\nX-Tidegate-Token: the-key\r\n\r\n")
        await world.pages_are(1)
        await world.pages_are(0)
        writer.close()

    told(story)


def test_a_page_that_leaves_makes_room() -> None:
    async def story(world: World) -> None:
        async with world.page(), world.page():
            status, answer = await world.ask("/events")
            assert status == 503
            assert answer["error"]["what"] == "2 pages are open already: close some"
        await world.pages_are(0)
        async with world.page() as page:
            assert (await page.event())[0] == "hello"

    told(story, pages=2)


def test_the_end_closes_every_stream() -> None:
    async def story(world: World) -> None:
        async with world.page() as page, world.page() as other:
            await page.event()
            await world.server.stop()
            for one in (page, other):
                assert await ended(one)

    told(story)


async def ended(page: Page) -> bool:
    try:
        while True:
            await page.event()
    except EOFError:
        return True


def test_facts_are_told_as_they_change() -> None:
    async def story(world: World) -> None:
        async with world.page() as page:
            await page.changes()
            world.publisher.tell(json.dumps({"troubles": ["away"]}).encode())
            while True:
                name, facts = await page.event()
                if name == "facts":
                    break
            assert facts == {"troubles": ["away"]}

    told(story)


def test_a_port_that_is_taken_is_told() -> None:
    async def story(world: World) -> None:
        other = type(world.server)(world.server._shown)
        with pytest.raises(Failed, match=r"127\.0\.0\.1:\d+: cannot listen: .*: choose another --port"):
            await other.start("127.0.0.1", world.port, "--port")

    told(story)
