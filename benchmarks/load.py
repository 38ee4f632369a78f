"""The closed loop of `tidegate bench` for the benchmarks: N connections, each asks again as soon as it has its answer.

It costs a few microseconds per request, so that one core of it loads one core of a server.  As a program it prints
one line of JSON: requests, seconds, latencies, errors.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop

from tidegate.bench.connection import Endpoint, Pool
from tidegate.bench.loops import ClosedLoop
from tidegate.bench.record import Record
from tidegate.bench.requests import request_bytes

LONGEST_ANSWER = 60.0


@dataclass(slots=True)
class Result:
    """What the client saw; times in seconds, `latencies` of what was answered well."""

    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def rps(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    def quantile(self, q: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0


async def load(host: str, port: int, request: bytes, connections: int, seconds: float) -> Result:
    """Send `request` over `connections` connections for `seconds`, then wait for the answers still on their way."""
    record, pool = Record(), Pool(Endpoint(host, port))
    loop = ClosedLoop([request], record, time.perf_counter)
    started = time.perf_counter()
    try:
        await pool.open(connections)
        pool.begin(loop)
        await asyncio.sleep(seconds)
        loop.end()
        await pool.settle(LONGEST_ANSWER)
    finally:
        pool.close()
    errors = sum(record.failures.values())
    good = [latency for latency in record.latencies.tolist() if latency < math.inf]
    return Result(len(record), errors, time.perf_counter() - started, good)


def post(path: str, body: bytes, headers: str = "") -> bytes:
    """The bytes of a POST request."""
    named = (line.partition(": ") for line in headers.splitlines())
    return request_bytes("localhost", path, body, ((name, value) for name, _, value in named))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("request", type=Path, help="file with the whole request, header and body")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    request = given.request.read_bytes()
    result = uvloop.run(load(given.host, given.port, request, given.connections, given.seconds))
    figures = {"rps": result.rps, "p50Ms": result.quantile(0.5) * 1e3, "p99Ms": result.quantile(0.99) * 1e3}
    plain = {key: value for key, value in asdict(result).items() if key != "latencies"}
    print(json.dumps({**plain, **figures}))
    return 1 if result.errors else 0


if __name__ == "__main__":
    sys.exit(main())
