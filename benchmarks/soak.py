"""Does the server's memory stay where it is?  `make bench-soak`: 2.5 million requests of mixed shapes and protocols.

In turns of two seconds all kinds of request are sent at the same time, each over new connections: rows by the one
and by the hundred, JSON, binary, gRPC, compressed, TensorFlow Serving's form, and some that are refused.  Memory is
read after each turn; from a tenth of the requests on it must not grow by 2 %.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from pathlib import Path

import uvloop
from benchmarks import grpc_load, load
from benchmarks.cells import CLIENT_CORE, Load
from benchmarks.docs import write_section
from benchmarks.forms import FORMS, JSON_TYPE, NAME, PATH
from benchmarks.load import Result, post
from benchmarks.machine import machine, sentence
from benchmarks.models import MODELS, BenchModel
from benchmarks.peers.systems import OURS
from benchmarks.processes import Started, leave_nothing_behind, on_core
from benchmarks.runtime import served

OUT = Path(__file__).resolve().parents[1] / "build/bench"
# The small model's bodies fill the heap up to a ceiling, from which glibc gives back a fifth now and then: of 200,000
# requests the first third did not always reach it.
REQUESTS = {"tiny": 2_000_000, "small": 500_000}
ROWS = {"tiny": (1, 16, 700), "small": (1, 3, 4)}
TURN_SECONDS = 2.0
CONNECTIONS = 4
MOST_GROWTH = 0.02
SETTLED_AFTER = 0.1


@dataclass(frozen=True, slots=True)
class Stream:
    """One kind of request; `refused`: the server must say no to it."""

    send: Load
    request: bytes
    grpc: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """Memory after so many requests."""

    requests: int
    rss_mib: float


def streams(model: BenchModel, rows: int) -> list[Stream]:
    """What is sent in one turn, all of it at the same time."""
    many = replace(model, shape=(rows, *model.shape[1:]))
    plain = FORMS["json"].write(many)
    packed = gzip.compress(plain.split(b"\r\n\r\n", 1)[1], 1)
    instances = json.dumps({"instances": many.sample().tolist()}).encode()
    wrong = FORMS["binary"].write(replace(many, input="y"))
    return [
        *(Stream(load.load, FORMS[form].write(many)) for form in ("json", "binary")),
        Stream(load.load, post(PATH, packed, JSON_TYPE + "content-encoding: gzip\r\n")),
        Stream(load.load, post(f"/v1/models/{NAME}:predict", instances, JSON_TYPE)),
        Stream(load.load, wrong, refused=True),
        Stream(load.load, b"GET /v2/models/other HTTP/1.1\r\nhost: x\r\n\r\n", refused=True),
        Stream(grpc_load.load, FORMS["grpc"].write(many), grpc=True),
    ]


async def turn(server: Started, sent: Sequence[Stream], seconds: float) -> int:
    """Send all streams at once: how many requests that were; raises RuntimeError on an answer of the wrong kind."""
    ports = [server.grpc if stream.grpc else server.http for stream in sent]
    results: list[Result] = await asyncio.gather(
        *(
            stream.send("127.0.0.1", port or 0, stream.request, CONNECTIONS, seconds)
            for stream, port in zip(sent, ports, strict=True)
        )
    )
    for stream, result in zip(sent, results, strict=True):
        if result.errors != (result.requests if stream.refused else 0):
            raise RuntimeError(f"{result.errors} of {result.requests} answers were of the wrong kind")
    return sum(result.requests for result in results)


def soak(model: BenchModel, requests: int, seconds: float = TURN_SECONDS) -> list[Reading]:
    """Readings until so many requests were answered."""
    readings = [Reading(0, 0.0)]
    with served(OURS, model) as server, on_core(CLIENT_CORE):
        for rows in cycle(ROWS[model.name]):
            answered = uvloop.run(turn(server, streams(model, rows), seconds))
            readings.append(Reading(readings[-1].requests + answered, server.rss_mib()))
            print(f"{model.name}: {readings[-1]}", file=sys.stderr, flush=True)
            if readings[-1].requests >= requests:
                return readings[1:]
    raise AssertionError("unreachable")


def growth(readings: Sequence[Reading]) -> float:
    """By which part memory grew from the time it was settled: the highest of the last tenth against the first third.

    The first third begins once a tenth of all requests is over; a turn's shapes come again every few turns.
    """
    total = readings[-1].requests
    settled = [one for one in readings if one.requests >= SETTLED_AFTER * total] or list(readings)
    third, tenth = max(1, len(settled) // 3), max(1, len(settled) // 10)
    return max(one.rss_mib for one in settled[-tenth:]) / max(one.rss_mib for one in settled[:third]) - 1


def line(name: str, readings: Sequence[Reading]) -> str:
    """Memory along the way: the first reading after a tenth, a half and all of the requests."""
    total = readings[-1].requests
    along = (next(one for one in readings if one.requests >= part * total) for part in (SETTLED_AFTER, 0.5, 1.0))
    cells = " | ".join(f"{one.rss_mib:.1f}" for one in along)
    return f"| {name} | {total:,} | {cells} | **{growth(readings):+.1%}** |"


def main() -> int:
    leave_nothing_behind()
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the two and a half million requests")
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/performance.md")
    given = parser.parse_args()
    found = {name: soak(MODELS[name](), int(given.share * count)) for name, count in REQUESTS.items()}
    head = ["| model | requests | MiB after a tenth | half | all | growth (must: < 2 %) |", "|---|---|---|---|---|---|"]
    text = "\n".join([*head, *(line(name, readings) for name, readings in found.items()), "", sentence(machine())])
    OUT.mkdir(parents=True, exist_ok=True)
    rows = {name: [asdict(one) for one in readings] for name, readings in found.items()}
    (OUT / "soak.json").write_text(json.dumps({"models": rows, "machine": machine()}, indent=1) + "\n")
    print(text)
    if given.write_docs:
        write_section("soak", text)
    return 0 if all(growth(readings) < MOST_GROWTH for readings in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
