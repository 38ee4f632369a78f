"""What the server's benchmark makes of its readings: the table, the plot, its part of the page; and how it counts time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any
from xml.etree import ElementTree

import pytest
from benchmarks.docs import with_section
from benchmarks.flood import Flood, Flooded
from benchmarks.load import Result, load, post
from benchmarks.machine import machine
from benchmarks.overload import Pace, table
from benchmarks.overload import Reading as Overloaded
from benchmarks.runtime_table import TARGETS, page, picture
from benchmarks.soak import Reading, growth

STALL = 0.3


def row(system: str, model: str, protocol: str, ratio: float = 0.5) -> dict[str, Any]:
    return {
        "system": system, "model": model, "protocol": protocol, "concurrency": 64, "R": ratio, "lowR": ratio - 0.01,
        "highR": ratio + 0.01, "rps": 1.0, "p50Ms": 1.0, "p99Ms": 2.0, "cpuUsPerRequest": 20.0, "rawUs": 10.0,
    }  # fmt: skip


def measured(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    nothing: dict[str, Any] = {"own": {}, "starts": {}, "alone": [], "missing": {}, "machine": machine()}
    return {**nothing, "rows": list(rows), **more}


def test_the_table_has_a_line_for_each_of_our_cells_with_what_it_must_reach() -> None:
    text = page(measured(*(row("tidegate", *key) for key in TARGETS)))

    assert len([line for line in text.splitlines() if "**0.500**" in line]) == len(TARGETS)
    assert "| tiny | grpc | 64 | **0.500** | 0.490 to 0.510 | 0.025 | 0.07 | 0.14 | 0.07 |" in text


def test_peers_stand_beside_us_and_who_could_not_be_measured_is_told() -> None:
    rows = (
        row("tidegate", "tiny", "json"),
        row("KServe", "tiny", "json", 0.01),
        row("LitServe", "tiny", "litserve", 0.02),
    )
    text = page(measured(*rows, missing={"Triton, tiny": "no wheel for this Python"}))

    assert "| R | tidegate | KServe | LitServe |" in text
    assert "| tiny json | 0.500 | 0.010 | 0.020 |" in text
    assert "- not measured: Triton, tiny: no wheel for this Python" in text


def test_what_one_request_at_a_time_adds_is_told_of_ours_with_its_must_and_of_the_bare_server() -> None:
    one = {"model": "tiny", "protocol": "binary", "rawMs": 0.1, "p50Ms": 0.25, "p99Ms": 1.0, "addedMs": 0.15}

    text = page(measured(alone=[{"system": "tidegate", **one}, {"system": "bare", **one}]))

    assert "| tiny binary | 0.250 | 0.100 | **0.150** | 0.2 |" in text
    assert "| bare tiny binary | 0.250 | 0.100 | **0.150** |  |" in text


def test_the_plot_is_a_picture_with_a_bar_for_each_system() -> None:
    drawn = picture(measured(row("tidegate", "tiny", "json"), row("KServe", "tiny", "json", 0.01)))

    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert "KServe" in drawn


def test_a_benchmark_writes_its_own_part_of_the_page_and_no_other() -> None:
    text = (
        "before\n<!-- soak: written by its benchmark -->\nold\n<!-- end of soak -->\n"
        "<!-- other: written by its benchmark -->\nkept\n<!-- end of other -->"
    )

    written = with_section(text, "soak", "| a \\1 |\n")

    assert "before\n<!-- soak: written by its benchmark -->\n\n| a \\1 |\n\n<!-- end of soak -->" in written
    assert "old" not in written
    assert "kept" in written
    with pytest.raises(LookupError, match="no part 'cores'"):
        with_section(text, "cores", "")


def test_memory_that_rises_at_the_start_only_has_not_grown() -> None:
    settles = [Reading(100 * turn, min(60.0 + turn, 100.0)) for turn in range(1, 1001)]
    leaks = [Reading(100 * turn, 100.0 + turn / 100) for turn in range(1, 1001)]

    assert growth(settles) == 0.0
    assert growth(leaks) > 0.05


def test_what_is_kept_under_overload_is_told_as_a_part_of_the_peak() -> None:
    peak, good = Pace(1000.0, 1100.0), Pace(950.0, 1023.0)

    line = table([Overloaded("small", peak, 2.98, good, 0.3, 1980.0, 0.01, 50.0, 0)]).splitlines()[-1]

    assert line == "| small | 1000 | 3.0 x | 950 | **0.95** | 0.93 | 0.30 | 1980 | 0.01 | 50 | 0 |"


async def answer_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, until: float) -> None:
    """Answer each request, but none before a time; as HTTP servers that write headers with capitals."""
    while await reader.readuntil(b"\r\n\r\n"):
        await reader.readexactly(2)
        await asyncio.sleep(max(0.0, until - time.perf_counter()))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def against_a_stall(client: Any) -> Any:
    until, open_now, closed = time.perf_counter() + STALL, 0, asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        with contextlib.suppress(asyncio.IncompleteReadError):
            await answer_late(reader, writer, until)
        writer.close()
        open_now -= 1
        if not open_now:
            closed.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        found = await client(server.sockets[0].getsockname()[1])
        await closed.wait()
        return found


def test_a_stall_counts_for_every_request_that_was_due_in_it() -> None:
    async def flood(port: int) -> Flooded:
        many = Flood(port, post("/", b"ok"), rate=100.0, connections=50)
        await many.connect()
        return await many.run(2 * STALL)

    found: Flooded = asyncio.run(against_a_stall(flood))

    waited = [seconds for seconds in found.latencies[200] if seconds > 0.05]
    assert len(waited) > 15  # of some 30 that were due while nobody answered
    assert found.quantile(200, 1.0) > 0.8 * STALL
    assert set(found.answers) == {200}


def test_a_closed_loop_hides_it_which_is_why_it_measures_cpu_and_nothing_else() -> None:
    async def closed(port: int) -> Result:
        return await load("127.0.0.1", port, post("/", b"ok"), 1, 2 * STALL)

    found: Result = asyncio.run(against_a_stall(closed))

    assert found.errors == 0
    assert max(found.latencies) > 0.8 * STALL
    assert len([seconds for seconds in found.latencies if seconds > STALL / 2]) < len(found.latencies) / 10


def test_what_finds_every_client_waiting_is_not_sent() -> None:
    async def flood(port: int) -> Flooded:
        three = Flood(port, post("/", b"ok"), rate=200.0, connections=3)
        await three.connect()
        return await three.run(STALL / 2)

    found: Flooded = asyncio.run(against_a_stall(flood))

    assert found.turned_away > 0
    assert found.answers == {200: found.sent}
