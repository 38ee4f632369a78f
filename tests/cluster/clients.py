"""Somebody who uses a model in the cluster, pod by pod, as the front Service would send them."""

from __future__ import annotations

import json
import threading
import urllib.request
from abc import ABC, abstractmethod
from collections import Counter
from typing import Self

from tests.cluster.operating import Site
from tests.control_plane.resources import Object
from tests.local.local_run import INPUT
from tests.waiting import wait_until


def ask(address: str, name: str = "fraud", body: Object = INPUT) -> str:
    """The version that answers at a pod's address."""
    request = urllib.request.Request(
        f"http://{address}:8080/v2/models/{name}/infer", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return str(json.loads(answer.read())["model_version"])


class Asking(ABC):
    """A thread that asks, round after round, until it is left."""

    def __init__(self, pause: float) -> None:
        self.failures: list[str] = []
        self._pause = pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask_on)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask_on(self) -> None:
        while not self._over.wait(self._pause):
            self._round()

    @abstractmethod
    def _round(self) -> None:
        """Ask everybody once."""


class Clients(Asking):
    """Somebody who asks, by turns, the pods that the front Service selects."""

    def __init__(self, site: Site, body: Object = INPUT) -> None:
        super().__init__(pause=0.01)
        self.answers: Counter[str] = Counter()
        self._site = site
        self._body = body

    def _round(self) -> None:
        for address in self._site.endpoints():
            try:
                self.answers[ask(address, self._site.name, self._body)] += 1
            except OSError as error:
                self.failures.append(f"{address}: {error!r}")

    def more(self, count: int, version: str) -> None:
        goal = self.answers[version] + count
        wait_until(lambda: self.answers[version] >= goal, f"{count} answers of {version}; {self.failures[:3]}", 30)
