"""What a dashboard tells a page, without a browser."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import Any

import urllib3


class Page:
    """A page that is open, without a browser: what it has been told."""

    def __init__(self, port: int, token: str = "") -> None:
        self.root = f"http://127.0.0.1:{port}"
        self.headers = {"X-Tidegate-Token": token}
        self.shown: dict[str, dict[str, Any]] = {}
        self.facts: dict[str, Any] = {}
        self._pool = urllib3.PoolManager(retries=False)
        self._stream = self._pool.request("GET", f"{self.root}/events", headers=self.headers, preload_content=False)
        assert self._stream.status == 200
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        rest = b""
        with contextlib.suppress(urllib3.exceptions.HTTPError):  # closed
            while piece := self._stream.read1(65536):
                *whole, rest = (rest + piece).split(b"\n\n")
                for text in whole:
                    lines = dict(line.split(": ", 1) for line in text.decode().split("\n"))
                    self._take(lines["event"], json.loads(lines["data"]))

    def _take(self, name: str, told: dict[str, Any]) -> None:
        if name == "facts":
            self.facts = told
        if name == "changes":
            if told["reset"]:
                self.shown = {}
            self.shown |= {f"{one['namespace']}/{one['name']}": one for one in told["put"]}
            for namespace, gone_name in told["gone"]:
                self.shown.pop(f"{namespace}/{gone_name}", None)

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):  # the server was first
            self._stream.shutdown()
        self._reading.join()
        self._stream.close()
        self._pool.clear()

    @property
    def reading(self) -> bool:
        return self._reading.is_alive()

    def act(self, namespace: str, verb: str, name: str = "fraud", step: int = 1) -> tuple[int, dict[str, Any]]:
        seen = {"step": step} if verb == "promote" else {}
        body = json.dumps({"namespace": namespace, "name": name, "verb": verb, **seen}).encode()
        answer = self._pool.request(
            "POST", f"{self.root}/act", body=body, headers={**self.headers, "Origin": self.root}
        )
        return answer.status, answer.json()

    def refusal(self, namespace: str) -> str:
        answer = self._pool.request("GET", f"{self.root}/rights?namespace={namespace}", headers=self.headers)
        return str(answer.json()["refusal"])
