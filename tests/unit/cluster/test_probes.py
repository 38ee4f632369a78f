from __future__ import annotations

import asyncio

import aiohttp
import pytest
from tests.unit.cluster.virtual_time import run

from tidegate.cluster.metrics import Metrics
from tidegate.cluster.probes import LAG_SECONDS, Checks, Probes, Pulse, watches_heard
from tidegate.errors import Failed

FINE: Checks = {"loop": lambda: "", "lease": lambda: ""}


async def asked(path: str, alive: Checks = FINE, ready: Checks = FINE) -> tuple[int, str]:
    metrics = Metrics()
    metrics.reconciled("ok", 0.1)
    probes = Probes(metrics, alive, ready)
    port = await probes.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, await answer.text()
    finally:
        await probes.stop()


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_when_every_check_is_fine_so_is_the_answer(path: str) -> None:
    assert asyncio.run(asked(path)) == (200, "loop: ok\nlease: ok\n")


def test_one_complaint_is_enough_and_the_page_says_which() -> None:
    status, text = asyncio.run(asked("/livez", alive={**FINE, "watches": lambda: "nothing was heard of pods"}))

    assert status == 503
    assert text == "loop: ok\nlease: ok\nwatches: nothing was heard of pods\n"


def test_alive_and_ready_are_different_questions() -> None:
    status, _ = asyncio.run(asked("/livez", ready={"caches": lambda: "not filled"}))

    assert status == 200


def test_metrics_are_on_the_same_port() -> None:
    status, text = asyncio.run(asked("/metrics"))

    assert status == 200
    assert 'tidegate_reconciles_total{result="ok"} 1.0' in text


def test_other_pages_are_not_there() -> None:
    assert asyncio.run(asked("/"))[0] == 404


def test_a_port_that_is_taken_is_said_with_its_number() -> None:
    async def story() -> None:
        first = Probes(Metrics(), FINE, FINE)
        second = Probes(Metrics(), FINE, FINE)
        port = await first.start("127.0.0.1", 0)
        try:
            await second.start("127.0.0.1", port)
        finally:
            await second.stop()
            await first.stop()

    with pytest.raises(Failed, match="choose another --probe-port") as raised:
        asyncio.run(story())
    assert raised.value.reason == "PortTaken"


def test_a_loop_that_keeps_time_is_fine() -> None:
    async def story() -> str:
        pulse = Pulse()
        beating = asyncio.create_task(pulse.run())
        await asyncio.sleep(30)
        beating.cancel()
        return pulse.check()

    assert run(story()) == ""


def test_a_loop_that_was_held_up_is_not() -> None:
    async def story() -> str:
        pulse = Pulse()
        beating = asyncio.create_task(pulse.run())
        await asyncio.sleep(1.5)
        asyncio.get_running_loop()._skipping.now += LAG_SECONDS + 3  # type: ignore[attr-defined]
        await asyncio.sleep(0.6)
        beating.cancel()
        return pulse.check()

    assert "late" in run(story())


def test_a_watch_that_is_silent_too_long_is_named() -> None:
    assert watches_heard(lambda: {"pods": 200.0, "services": 10.0, "jobs": 151.0})() == (
        "nothing was heard of jobs for 151 s, pods for 200 s"
    )


def test_watches_that_are_heard_of_are_fine_and_so_are_none() -> None:
    assert watches_heard(lambda: {"pods": 100.0})() == ""
    assert watches_heard(dict)() == ""
