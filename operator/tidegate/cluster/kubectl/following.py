"""The rollouts of some namespaces as a person may see them, kept current on a dashboard's board.

What the watches hear, in their threads, is made small there and handed to the event loop, which alone touches what is
kept: of a rollout and of each pod the JSON that the page gets.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from tidegate.cluster.api import metadata
from tidegate.cluster.errors import ClusterError
from tidegate.cluster.kubectl.connection import Connection
from tidegate.cluster.kubectl.deployments import pod_document
from tidegate.cluster.kubectl.kept import Kept, Name
from tidegate.cluster.kubectl.watching import Object, Watcher, Where, is_refused
from tidegate.dashboard.document import Document, rollout_document
from tidegate.dashboard.publishing import Publisher
from tidegate.plan.manifests.identity import LABEL_DEPLOYMENT, LABEL_REVISION, MODEL_DEPLOYMENT, POD

FIRST_LIST_SECONDS = 30.0
Row = tuple[Name, bytes]


class Following:
    """Watches of the namespaces (None: of all in one), and what they have heard."""

    def __init__(
        self, connection: Connection, namespaces: Sequence[str | None], kept: Kept, publisher: Publisher
    ) -> None:
        self._kept, self._publisher = kept, publisher
        self._loop = asyncio.get_running_loop()
        self._listing: dict[Where, set[Name]] = {}  # lists that are being read: what was in their pages
        self._errors: dict[Where, ClusterError] = {}
        self._since: dict[Where, str] = {}
        self._rollouts = [Where(MODEL_DEPLOYMENT, namespace) for namespace in namespaces]
        pods = [Where(POD, namespace, f"{LABEL_DEPLOYMENT},{LABEL_REVISION}") for namespace in namespaces]
        self._awaited = {*self._rollouts, *pods}
        self._answered = asyncio.Event()
        self._watchers = [Watcher(connection, where, self) for where in self._awaited]

    async def start(self) -> None:
        """Watch, and wait for a while until every place was listed or refused.

        Raises the error of the first namespace when no namespace's rollouts can be seen.
        """
        for watcher in self._watchers:
            watcher.start()
        with contextlib.suppress(TimeoutError):  # a long list: the page fills up
            await asyncio.wait_for(self._answered.wait(), FIRST_LIST_SECONDS)
        if all(where in self._errors for where in self._rollouts):
            raise self._errors[self._rollouts[0]]

    def stop(self) -> None:
        for watcher in self._watchers:
            watcher.stop()

    # -- in the watches' threads

    def page(self, where: Where, items: list[Object], *, first: bool) -> None:
        self._later(self._page, where, [small(where, found) for found in items], first)

    def listed(self, where: Where) -> None:
        self._later(self._listed, where)

    def news(self, where: Where, what: str, found: Object) -> None:
        self._later(self._news, what, small(where, found))

    def trouble(self, where: Where, error: ClusterError | None) -> None:
        self._later(self._trouble, where, error)

    def _later(self, act: Callable[..., None], *given: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: it is over, and nobody wants to know
            self._loop.call_soon_threadsafe(act, *given)

    # -- in the event loop

    def _page(self, where: Where, items: list[Row], first: bool) -> None:
        if first:  # one that was begun before has broken off
            self._listing[where] = set()
        listed = self._listing[where]
        for name, content in items:
            listed.add(name)
            self._kept.put(name, content)
            self._publisher.changed(name[0])

    def _listed(self, where: Where) -> None:
        for name in self._kept.missing(where, self._listing.pop(where, set())):
            self._kept.drop(name)
            self._publisher.changed(name[0])
        self._heard_of(where)

    def _news(self, what: str, row: Row) -> None:
        name, content = row
        if what == "DELETED":
            self._kept.drop(name)
        else:
            self._kept.put(name, content)
        self._publisher.changed(name[0])

    def _trouble(self, where: Where, error: ClusterError | None) -> None:
        """Pods that may not be listed are none of the page; a server that is away leaves what it had shown."""
        before = self._errors.pop(where, None)
        if error:
            self._errors[where] = error
            if before is None:
                self._since[where] = datetime.now(UTC).isoformat(timespec="seconds")
            self._heard_of(where)
        if where.kind == POD:
            refused = error is not None and is_refused(error)
            for key in self._kept.refuse_pods(where.namespace, refused=refused):
                self._publisher.changed(key)
        self._publisher.tell(orjson.dumps({"troubles": [self._told(one) for one in sorted(self._errors, key=str)]}))

    def _told(self, where: Where) -> dict[str, str | bool]:
        error = self._errors[where]
        return {
            "about": str(where), "what": error.what, "do": error.do, "since": self._since[where],
            "passes": not is_refused(error),
        }  # fmt: skip

    def _heard_of(self, where: Where) -> None:
        self._awaited.discard(where)
        if not self._awaited:
            self._answered.set()


def small(where: Where, found: Object) -> Row:
    """What is kept of an object."""
    about = metadata(found)
    namespace, name = str(about["namespace"]), str(about["name"])
    if where.kind == POD:
        owner = str((about.get("labels") or {}).get(LABEL_DEPLOYMENT, ""))
        return ((namespace, owner), name), packed(pod_document(found))
    return ((namespace, name), ""), packed(rollout_document(found))


def packed(document: Document) -> bytes:
    # A copy: orjson's own bytes keep the room that they were written in, three times what they need.
    return bytes(memoryview(orjson.dumps(document)))
