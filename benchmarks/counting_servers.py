"""Model servers that only count: the evidence endpoint of the real server, for pods that no process runs for.

Simulated pods have addresses of this machine's loopback network, so one process can answer at all of them.  Each
counts as many requests a second as any other, all of them answered well: as a Service would spread them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from types import TracebackType

import urllib3
from tests.cluster.operating import GROUP, ready
from tests.control_plane.client import ApiError, Client, Watch
from tests.control_plane.resources import Object

from tidegate_runtime.counters import Counters

PORT = 9090
PER_SECOND = 2
ANSWERED_SECONDS = 0.01


class CountingServers:
    """A server at the address of each ready pod of a namespace, for as long as this is entered."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client, self._namespace = client, namespace
        self._counters: dict[str, tuple[Counters, str]] = {}  # by address; and the revision
        self._servers: dict[str, asyncio.Server] = {}
        self._loop = asyncio.new_event_loop()
        self._watch: Watch | None = None
        self._over = threading.Event()
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._serve, self._follow)]

    def __enter__(self) -> CountingServers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._over.set()
        if self._watch:
            self._watch.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        for thread in self._threads:
            thread.join(10)

    def _serve(self) -> None:
        self._loop.create_task(self._count())
        self._loop.run_forever()
        for server in self._servers.values():
            server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _count(self) -> None:
        while True:
            for counters, _ in self._counters.values():
                counters.answered("requests", 200, 0.0, ANSWERED_SECONDS, ANSWERED_SECONDS)
            await asyncio.sleep(1 / PER_SECOND)

    def _follow(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(ApiError, urllib3.exceptions.HTTPError):
                self._watch = self._client.watch("pods", self._namespace)
                for event in self._watch:
                    gone = event["type"] == "DELETED" or "deletionTimestamp" in event["object"]["metadata"]
                    self._loop.call_soon_threadsafe(self._see, event["object"], gone)

    def _see(self, pod: Object, gone: bool) -> None:
        address = (pod.get("status") or {}).get("podIP", "")
        revision = pod["metadata"]["labels"].get(f"{GROUP}/revision")
        if gone and address in self._servers:
            self._servers.pop(address).close()
            del self._counters[address]
        elif not gone and revision and ready(pod) and address not in self._counters:
            self._counters[address] = (Counters(), revision)
            self._loop.create_task(self._listen(address))

    async def _listen(self, address: str) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            body = json.dumps(self._evidence(address)).encode()
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            writer.close()

        self._servers[address] = await asyncio.start_server(answer, address, PORT)

    def _evidence(self, address: str) -> Object:
        counters, revision = self._counters[address]
        found = counters.evidence() | {"model": "fraud", "revision": revision, "inFlight": 0, "queued": 0}
        found["divergence"]["dropped"] = 0
        return found
