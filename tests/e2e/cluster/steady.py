"""Clients that go through the front Service, or a gateway, and never stop asking: what they see is what users see.

A Service chooses a pod for each connection.  Half of the clients open a new one for every request, so that the split is
seen; the others keep theirs as long as the server does, so that drains are.  A gateway splits the requests of both.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.local.local_run import INPUT
from tests.waiting import wait_until

PAUSE_SECONDS = 0.04
ANSWER_SECONDS = 10.0


@dataclass
class Steady:
    """Clients of one model at one address."""

    address: str
    port: int
    model: str
    clients: int = 4
    host: str = ""  # by which a gateway knows whom a request is for
    rows: int = 1  # of each request
    answers: Counter[str] = field(default_factory=Counter)  # by version, those on new connections
    kept: Counter[str] = field(default_factory=Counter)  # a connection stays with its pod until that drains
    last: dict[str, float] = field(default_factory=dict)  # by version, when any of them was answered last (monotonic)
    failures: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> Steady:
        self._threads = [
            threading.Thread(target=self._ask_on, args=(number % 2 == 0,)) for number in range(self.clients)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int, version: str = "") -> None:
        """Wait for so many further answers, of a version if one is named."""

        def total() -> int:
            return self.answers[version] if version else self.answers.total()

        goal = total() + count
        what = f"{count} more answers of {version or 'any version'}"
        wait_until(lambda: total() >= goal, lambda: f"{what}: {dict(self.answers)}, {self.failures[:3]}")

    def next_answers(self, count: int) -> set[str]:
        """The versions that the next so many answers come from."""
        before = self.answers.copy()
        self.more(count)
        return {version for version, answers in self.answers.items() if answers > before[version]}

    def _ask_on(self, keeps: bool) -> None:
        connection = http.client.HTTPConnection(self.address, self.port, timeout=ANSWER_SECONDS)
        one: dict[str, Any] = {**INPUT["inputs"][0]}
        body = json.dumps({"inputs": [{**one, "shape": [self.rows, 4], "data": one["data"] * self.rows}]})
        headers = {"Content-Type": "application/json"} | ({} if keeps else {"Connection": "close"})
        headers |= {"Host": self.host} if self.host else {}
        while not self._over.wait(PAUSE_SECONDS):
            try:
                connection.request("POST", f"/v2/models/{self.model}/infer", body, headers)
                answer = connection.getresponse()
                self._note(answer.status, answer.read(), self.kept if keeps else self.answers)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self._fail(f"{'kept' if keeps else 'new'} connection: {error!r}")
        connection.close()

    def _note(self, status: int, body: bytes, counter: Counter[str]) -> None:
        if status != 200:
            return self._fail(f"{status} {body[:200]!r}")
        version = json.loads(body)["model_version"]
        with self._lock:
            counter[version] += 1
            self.last[version] = time.monotonic()
        return None

    def _fail(self, what: str) -> None:
        with self._lock:
            self.failures.append(f"{time.strftime('%H:%M:%S')} {what}")
