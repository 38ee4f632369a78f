"""Steady traffic like real users': real digits over kept connections, every answer checked against what is right.

Each connection sends its requests at fixed times and never more than one at once; a late answer delays only its own
connection.  Counts are kept by the time a request was *sent*, so that slow answers do not blur the share of a version.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

BIN = 0.1  # seconds
ANSWER_WITHIN = 30.0
RECONNECTS = 5
SHOWN = 5  # errors whose text is kept


@dataclass(frozen=True, slots=True)
class Load:
    """Whom to ask, what, and how often."""

    port: int
    path: str
    bodies: Sequence[bytes]
    expected: Mapping[str, Sequence[int | None]]  # by version, then by body; None: the version is undecided there
    rate: float
    connections: int = 32


@dataclass(slots=True)
class Tally:
    """What the clients saw."""

    by_bin: dict[int, Counter[str]] = field(default_factory=dict)
    sent: int = 0
    answered: int = 0
    errors: int = 0
    messages: list[str] = field(default_factory=list)

    def right(self, sent_at: float, version: str) -> None:
        self.answered += 1
        self.by_bin.setdefault(int(sent_at / BIN), Counter())[version] += 1

    def wrong(self, what: str) -> None:
        self.errors += 1
        if len(self.messages) < SHOWN:
            self.messages.append(what)

    def between(self, start: float, end: float) -> Counter[str]:
        """Answers by version to requests that were sent within these times (of time.time)."""
        first, last = int(start / BIN) + 1, int(end / BIN)
        total: Counter[str] = Counter()
        for number in range(first, last):
            total.update(self.by_bin.get(number, Counter()))
        return total

    def last(self, version: str) -> float:
        """When the last request was sent that `version` answered."""
        bins = [number for number, counts in list(self.by_bin.items()) if counts[version]]
        return (max(bins) + 1) * BIN if bins else 0.0


class Traffic:
    """Clients on a thread and an event loop of their own."""

    def __init__(self, load: Load) -> None:
        self.tally = Tally()
        self._load = load
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, name="clients", daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(ANSWER_WITHIN + 5)

    def _main(self) -> None:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._clients())

    async def _clients(self) -> None:
        period = self._load.connections / self._load.rate
        starts = [number / self._load.rate for number in range(self._load.connections)]
        await asyncio.gather(*(self._client(start, period, random.Random(start)) for start in starts))

    async def _client(self, start: float, period: float, chance: random.Random) -> None:
        await asyncio.sleep(start)
        connection = Connection(self._load)
        due = time.monotonic()
        while not self._stop.is_set():
            number = chance.randrange(len(self._load.bodies))
            sent_at = time.time()
            self.tally.sent += 1
            try:
                version, label = await asyncio.wait_for(connection.ask(number), ANSWER_WITHIN)
                self._check(number, version, label, sent_at)
            except (OSError, ValueError, KeyError, IndexError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.tally.wrong(f"{type(error).__name__}: {error}")
                connection.close()
            due = max(due + period, time.monotonic() - period)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        connection.close()

    def _check(self, number: int, version: str, label: int, sent_at: float) -> None:
        if version not in self._load.expected:
            raise ValueError(f"an answer of version '{version}', which must never serve")
        expected = self._load.expected[version][number]
        if expected is not None and label != expected:
            raise ValueError(f"version {version} says {label} for digit {number}, expected {expected}")
        self.tally.right(sent_at, version)


class Connection:
    """One kept HTTP/1.1 connection; the smallest client that reads what Envoy answers."""

    def __init__(self, load: Load) -> None:
        head = (
            f"POST {load.path} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        self._requests = [head + str(len(body)).encode() + b"\r\n\r\n" + body for body in load.bodies]
        self._port = load.port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, number: int) -> tuple[str, int]:
        """Send one digit; the version that answered, and what it says.

        A kept connection may have been closed while it was idle: then, and only before any byte of an answer, a
        client asks once more on a new one.
        """
        kept = self._streams is not None
        try:
            status, answer = await self._exchange(number)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            partial = getattr(error, "partial", b"")
            self.close()
            if not kept or partial:
                raise
            status, answer = await self._exchange(number)
        if status != b"200":
            raise ValueError(f"status {status.decode()}: {answer[:200]!r}")
        document = orjson.loads(answer)
        outputs = {output["name"]: output["data"] for output in document["outputs"]}
        return str(document["model_version"]), int(outputs["label"][0])

    async def _exchange(self, number: int) -> tuple[bytes, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(self._requests[number])
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        body = await reader.readexactly(length)
        if b"connection: close" in lines:
            self.close()
        return head[9:12], body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def wait_until(ready: Callable[[], Any], seconds: float, what: str, every: float = 0.1) -> Any:
    """The first true answer of `ready`; TimeoutError with a sentence when none comes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if found := ready():
                return found
        time.sleep(every)
    raise TimeoutError(f"{what} did not happen within {seconds:.0f} s")
