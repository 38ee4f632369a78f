"""What the main process does with siblings that hang, are stuck, or die while the server ends; lives are played."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tidegate.errors import TidegateError
from tidegate_runtime.admission import Admission
from tidegate_runtime.counters import Counters
from tidegate_runtime.health import Health, Phase
from tidegate_runtime.server import Server
from tidegate_runtime.serving import Observed
from tidegate_runtime.settings import parse
from tidegate_runtime.shadow import ShadowSender, Target
from tidegate_runtime.siblings import family, wire
from tidegate_runtime.siblings.counts import Plain
from tidegate_runtime.siblings.life import NOT_STARTED
from tidegate_runtime.statistics import Sums
from tidegate_runtime.watchdog import Watchdog

TARGET = Target("127.0.0.1", 9, share=0.0, until=0.0, token="")


class PlayedLife:
    """Gets ready at once, and dies when it is told to; what `Family` uses of `Life`."""

    born: list[PlayedLife]
    starts = True  # else no process comes of it

    def __init__(
        self, told: Callable[[Any, wire.Report], None], ready: Callable[[Any], None], shared: tuple[int, ...] = ()
    ) -> None:
        self._told, self._when_ready = told, ready
        self.began = self.heard = time.monotonic()
        self.ready, self.until, self.connections = False, 0, 0
        self.failed: wire.Failed | None = None
        self.report: wire.Report | None = None
        self.said: list[object] = []
        self.death: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.sums = Sums()
        PlayedLife.born.append(self)

    async def live(self, hello: object) -> int:
        self.said.append(hello)
        if not self.starts:
            self.failed = wire.Failed("SiblingDied", "a process cannot be started: Too many open files")
            return NOT_STARTED
        asyncio.get_running_loop().call_soon(self._become_ready)
        return await self.death

    def _become_ready(self) -> None:
        self.ready = True
        self._when_ready(self)

    def say(self, message: object) -> None:
        self.said.append(message)

    def kill(self) -> None:
        if not self.death.done():
            self.death.set_result(-9)

    def shut_door(self) -> None:
        """There is none."""


@pytest.fixture
def health() -> Health:
    found = Health()
    found.phase = Phase.READY
    return found


@pytest.fixture
def counted() -> Counters:
    """What the main process itself counts."""
    return Counters()


@pytest.fixture
def shadow() -> ShadowSender:
    """The main process's own."""
    return ShadowSender()


Scene = Callable[[family.Family, list[TidegateError]], Awaitable[None]]


@pytest.fixture
def play(
    monkeypatch: pytest.MonkeyPatch, health: Health, counted: Counters, shadow: ShadowSender
) -> Callable[[Scene], None]:
    """Plays a scene with a family of three processes."""
    monkeypatch.setattr(family, "Life", PlayedLife)
    monkeypatch.setattr(family, "TICK_SECONDS", 0.005)
    monkeypatch.setattr(family, "FIRST_PAUSE", 0.001)
    PlayedLife.born = []

    async def scene_with_family(scene: Scene) -> None:
        settings = parse(["--bundle", str(Path())], {})
        parts = Observed(Watchdog(), counted, shadow, Admission(8), health)
        ours = family.Family(parts, Server(settings, parts.admission, {}), dict, 100)
        given_up: list[TidegateError] = []
        await ours.start(2, None, given_up.append)  # type: ignore[arg-type]
        await scene(ours, given_up)

    return lambda scene: asyncio.run(asyncio.wait_for(scene_with_family(scene), 20))


async def until(look: Callable[[], object]) -> None:
    while not look():  # noqa: ASYNC110 - the scene's own deadline ends it
        await asyncio.sleep(0)


def report(*, hopeless: str = "", queued: int = 0) -> wire.Report:
    return wire.Report(0, Plain(), [], Sums(), queued, 3 * queued, 2 * queued, hopeless)


def test_a_sibling_that_says_nothing_is_killed_and_replaced(play: Callable[[Scene], None]) -> None:
    async def scene(ours: family.Family, _: list[TidegateError]) -> None:
        PlayedLife.born[0].heard -= family.SILENT_SECONDS + 1

        await until(lambda: ours.restarts == 1 and ours.alive == 3)

        assert PlayedLife.born[0].death.result() == -9
        assert not PlayedLife.born[1].death.done()

    play(scene)


def test_a_run_that_does_not_end_in_a_sibling_fails_liveness(play: Callable[[Scene], None], health: Health) -> None:
    async def scene(_: family.Family, __: list[TidegateError]) -> None:
        assert health.live
        PlayedLife.born[1].report = report(hopeless="RunStuck")
        await until(lambda: not health.live and not health.ready)

        PlayedLife.born[1].report = report()
        await until(lambda: health.live and health.ready)

    play(scene)


def test_what_waits_and_runs_is_told_of_all_processes(play: Callable[[Scene], None]) -> None:
    async def scene(ours: family.Family, _: list[TidegateError]) -> None:
        for life in PlayedLife.born:
            life.report, life.connections = report(queued=3), 5

        assert (ours.queued, ours.in_flight, ours.connections, ours.alive) == (6, 12, 10, 3)

    play(scene)


def test_deaths_in_a_row_end_the_server_and_a_long_life_between_them_does_not(play: Callable[[Scene], None]) -> None:
    async def dies_and_is_replaced(ours: family.Family, lived: float) -> None:
        victim, born = PlayedLife.born[-1], len(PlayedLife.born)
        victim.began -= lived
        victim.kill()
        await until(lambda: len(PlayedLife.born) > born and ours.alive == 3)

    async def scene(ours: family.Family, given_up: list[TidegateError]) -> None:
        for lived in (0.0, 0.0, family.LIVED_SECONDS + 1, 0.0, 0.0, 0.0):
            await dies_and_is_replaced(ours, lived)
        assert given_up == []

        PlayedLife.born[-1].kill()

        await until(lambda: given_up)
        assert given_up[0].reason == "SiblingDied"
        assert ours.alive == 2

    play(scene)


def test_a_process_that_does_not_start_leaves_the_counts_of_the_others_as_they_are(
    play: Callable[[Scene], None], counted: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(ours: family.Family, given_up: list[TidegateError]) -> None:
        counted.answered("requests", 200, 0.0, 0.0, 0.001)
        await until(lambda: ours.counters.codes == {200: 1})
        monkeypatch.setattr(PlayedLife, "starts", False)

        PlayedLife.born[0].kill()
        await until(lambda: given_up)
        counted.answered("requests", 500, 0.0, 0.0, 0.001)
        await until(lambda: 500 in ours.counters.codes)

        assert ours.counters.codes == {200: 1, 500: 1}

    play(scene)


def test_nothing_is_started_again_while_the_server_ends(
    play: Callable[[Scene], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(ours: family.Family, _: list[TidegateError]) -> None:
        monkeypatch.setattr(family, "FIRST_PAUSE", 1000.0)
        PlayedLife.born[0].kill()
        await until(lambda: ours.alive == 2)

        ours.drain()
        PlayedLife.born[1].death.set_result(0)

        assert await ours.end(lambda: True)
        assert len(PlayedLife.born) == 2
        assert isinstance(PlayedLife.born[1].said[-1], wire.Drain)

    play(scene)


def test_a_sibling_that_does_not_finish_in_time_is_killed(play: Callable[[Scene], None]) -> None:
    async def scene(ours: family.Family, _: list[TidegateError]) -> None:
        ours.drain()
        assert not await ours.end(lambda: False)

        assert [life.death.result() for life in PlayedLife.born] == [-9, -9]

    play(scene)


def test_siblings_hear_where_to_shadow_to_although_it_was_said_before_they_were_ready(
    play: Callable[[Scene], None], shadow: ShadowSender
) -> None:
    shadow.aim(TARGET)

    async def scene(_: family.Family, __: list[TidegateError]) -> None:
        assert [life.said[-1] for life in PlayedLife.born] == [wire.Aim(TARGET)] * 2

    play(scene)


def test_a_sibling_that_is_born_later_hears_where_to_shadow_to(
    play: Callable[[Scene], None], shadow: ShadowSender
) -> None:
    async def scene(ours: family.Family, _: list[TidegateError]) -> None:
        shadow.aim(TARGET)
        ours.aim()
        await until(lambda: all(wire.Aim(TARGET) in life.said for life in PlayedLife.born))

        PlayedLife.born[0].kill()
        await until(lambda: ours.alive == 3 and len(PlayedLife.born) == 3)

        assert PlayedLife.born[2].said[-1] == wire.Aim(TARGET)

    play(scene)
