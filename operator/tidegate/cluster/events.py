"""Telling people, through the cluster's events, what happened to their deployment.

Events are the first that a busy API server drops and the last that a rollout depends on: they are queued, posted one
after another in the background, and thrown away (and counted) before they hold up anything.  The same warning about the
same object again within ten minutes is not said; what went well is said each time.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tidegate.cluster.api import Object, metadata
from tidegate.cluster.errors import AlreadyExists, ApiDown, ClusterError, Throttled
from tidegate.cluster.lease import timestamp
from tidegate.plan.manifests.identity import GROUP, LABEL_REVISION
from tidegate.plan.wanted import Event

log = logging.getLogger(__name__)

WAITING = 1000
REMEMBERED = 4096
SAME_SECONDS = 600.0
ATTEMPTS = 3
PAUSE_SECONDS = 2.0
NOTE_LIMIT = 1024  # bytes, by the API
NAME_LIMIT = 200

Post = Callable[[Object], Awaitable[Object]]
Told = tuple[str, str, str, str]  # uid, reason, revision, message


def uncounted(result: str) -> None:
    """For recorders that nobody keeps figures of."""


class Recorder:
    """`record` never waits; `run` posts, as a task of its own."""

    def __init__(self, post: Post, instance: str, counted: Callable[[str], None] = uncounted) -> None:
        self._post = post
        self._instance = instance[:128]
        self._counted = counted
        self._waiting: deque[Object] = deque()
        self._told: OrderedDict[Told, float] = OrderedDict()
        self._news = asyncio.Event()

    def record(self, about: Mapping[str, Any], event: Event) -> None:
        """Say it of an object, unless it was said just now."""
        told = (str(metadata(about).get("uid") or ""), event.reason, event.revision, event.message)
        if event.type == "Warning" and self._said(told):
            return self._counted("repeated")
        if len(self._waiting) >= WAITING:
            return self._counted("dropped")
        self._waiting.append(event_object(about, event, self._instance))
        return self._news.set()

    async def run(self) -> None:
        """Post what is recorded, until cancelled."""
        while True:
            while self._waiting:
                self._counted("posted" if await self._deliver(self._waiting.popleft()) else "dropped")
            self._news.clear()
            await self._news.wait()

    def _said(self, told: Told) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._told.get(told, float("-inf")) < SAME_SECONDS:
            return True
        self._told[told] = now
        self._told.move_to_end(told)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        return False

    async def _deliver(self, event: Object) -> bool:
        for attempt in range(ATTEMPTS):
            try:
                await self._post(event)
            except AlreadyExists:  # an attempt whose answer never came
                return True
            except (ApiDown, Throttled) as error:
                if attempt + 1 < ATTEMPTS:
                    await asyncio.sleep(max(PAUSE_SECONDS, getattr(error, "retry_after", 0.0)))
            except ClusterError as error:
                log.debug("an event was not posted: %s", error)
                return False
            else:
                return True
        return False


def event_object(about: Mapping[str, Any], event: Event, instance: str) -> Object:
    """An event of `events.k8s.io/v1`; its name is chosen here, so that a second attempt is no second event."""
    of = metadata(about)
    labels = {"labels": {LABEL_REVISION: event.revision}} if event.revision else {}
    name = f"{str(of['name'])[:NAME_LIMIT]}.{secrets.token_hex(8)}"
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": of["namespace"], "name": name, **labels},
        "eventTime": timestamp(datetime.now(UTC)),
        "type": event.type,
        "reason": event.reason,
        "action": event.reason,
        "note": cut(event.message, NOTE_LIMIT),
        "regarding": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "namespace": of["namespace"],
            "name": of["name"],
            "uid": of.get("uid", ""),
        },
        "reportingController": f"{GROUP}/operator",
        "reportingInstance": instance,
    }


def cut(text: str, limit: int) -> str:
    """At most so many bytes, without half a character at the end."""
    encoded = text.encode()
    return text if len(encoded) <= limit else encoded[: limit - 3].decode(errors="ignore") + "…"
