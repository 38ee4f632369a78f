"""The page of rollouts that the operator serves: from its own cache, to whoever can connect, for reading only.

Standbys serve it too: their caches are as full.  There is no key, because there is nothing that a key would allow; who
may connect is the platform's to say (docs/dashboard.md).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from datetime import UTC, datetime

import orjson

from tidegate.cluster.api import Key
from tidegate.cluster.kubectl.deployments import pod_document
from tidegate.cluster.seen import Cache
from tidegate.cluster.settings import OperatorSettings
from tidegate.dashboard.board import Board
from tidegate.dashboard.document import rollout_document, with_pods
from tidegate.dashboard.publishing import Publisher
from tidegate.dashboard.serving import Dashboard, Shown
from tidegate.plan.manifests.identity import LABEL_REVISION, MODEL_DEPLOYMENT, POD

log = logging.getLogger(__name__)

PASSING = ("404", "410", "429")  # a kind that is not installed, a watch that is too old, a busy server


class Showing:
    """The page, from `start` to `stop`."""

    def __init__(self, settings: OperatorSettings, cache: Cache, port: int) -> None:
        self._cache, self._port = cache, port
        self._publisher = Publisher(Board(secrets.token_hex(8)), self._look)
        place = f"namespace {', '.join(settings.namespaces)}" if settings.namespaces else "all namespaces"
        self._server = Dashboard(Shown(place, self._publisher, names=settings.dashboard_hosts))
        self._publishing: asyncio.Task[None] | None = None
        self._lost: str | None = None  # since when nothing is heard

    async def start(self, host: str) -> None:
        """Listen; raises Failed where the port is taken."""
        port = await self._server.start(host, self._port, "--dashboard-port")
        self._publishing = asyncio.create_task(self._publisher.run())
        log.info("the page of rollouts on port %d", port)

    async def stop(self) -> None:
        if self._publishing:
            self._publishing.cancel()
        await self._server.stop()

    def changed(self, key: Key) -> None:
        """News of a rollout, or of something that belongs to it."""
        self._publisher.changed(key)

    def requested(self, verb: str, code: str) -> None:
        """How a request of the watches went: without an answer the page is stale, until one is answered again."""
        if verb not in ("list", "watch") or code in PASSING:
            return
        fine = code.startswith("2")
        if fine == (self._lost is None):
            return
        self._lost = None if fine else datetime.now(UTC).isoformat(timespec="seconds")
        what = "the API server does not answer" if code == "none" else f"the API server answers {code}"
        trouble = {"about": "the operator's watches", "what": what, "do": "", "since": self._lost, "passes": True}
        self._publisher.tell(orjson.dumps({"troubles": [] if fine else [trouble]}))

    def _look(self, key: Key) -> bytes | None:
        found = self._cache.get(MODEL_DEPLOYMENT, *key)
        if found is None:
            return None
        pods = [
            pod for pod in self._cache.of_kind(POD, *key) if LABEL_REVISION in (pod["metadata"].get("labels") or {})
        ]
        return with_pods(orjson.dumps(rollout_document(found)), [orjson.dumps(pod_document(pod)) for pod in pods])
