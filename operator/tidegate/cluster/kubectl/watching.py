"""One kind in one place, listed and then watched by a person's own rights, for as long as a dashboard is open.

A thread each, because the login is that of `tidegate status`: plugins, proxies and client certificates work as there.
A watch goes on where the last one ended; when that is too long ago (410) the list is read again.  Trouble is told at
once and tried again ever more slowly; the server ends a quiet watch every minute, so that a dead network is noticed.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tidegate.cluster.api import metadata, path
from tidegate.cluster.errors import ApiDown, ClusterError, Expired, Forbidden, error_of
from tidegate.cluster.kubectl.connection import Connection, CrdMissing, Lines
from tidegate.errors import Temporary
from tidegate.plan.manifests.identity import Kind

PAGE = "50"  # as dictionaries ten times as large as in JSON: 100 cost 4 MiB more of memory (docs/dashboard.md)
WATCH_SECONDS = 60
SILENCE_SECONDS = WATCH_SECONDS + 15.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0  # seconds
REFUSED_PAUSE = 15.0  # a right may be given, a login renewed
SOON_SECONDS = 1.0  # between two lists, or two watches, at least
GONE = 410
NEWS = ("ADDED", "MODIFIED", "DELETED")
Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Where:
    """What is watched: a kind in a namespace (None: in all), with these labels."""

    kind: Kind
    namespace: str | None
    selector: str = ""

    def __str__(self) -> str:
        return f"{self.kind.plural} in {f'namespace {self.namespace}' if self.namespace else 'all namespaces'}"


class Hearer(Protocol):
    """Who is told; called from the threads of the watches."""

    def page(self, where: Where, items: list[Object], *, first: bool) -> None:
        """Some of a list; what is in no page of it, from the first to the last, is not there."""
        ...

    def listed(self, where: Where) -> None:
        """The list is complete."""
        ...

    def news(self, where: Where, what: str, found: Object) -> None:
        """ADDED, MODIFIED or DELETED."""
        ...

    def trouble(self, where: Where, error: ClusterError | None) -> None:
        """Why nothing is heard; None: it is heard again."""
        ...


class Watcher(threading.Thread):
    """Lists and watches until it is told to stop."""

    def __init__(self, connection: Connection, where: Where, hearer: Hearer) -> None:
        super().__init__(name=f"watch of {where}", daemon=True)
        self._connection, self._where, self._hearer = connection, where, hearer
        self._path = path(where.kind, where.namespace)
        self._over = threading.Event()
        self._lines: Lines | None = None
        self._pause = FIRST_PAUSE
        self._version = ""  # how far we have heard; nothing: a list comes first

    def stop(self) -> None:
        self._over.set()
        if lines := self._lines:
            lines.close()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                if not self._version:
                    self._version = self._list()
                began = time.monotonic()
                self._watch()
                if time.monotonic() - began < SOON_SECONDS:  # a proxy that holds nothing open
                    self._over.wait(SOON_SECONDS)
            except Expired:
                self._version = ""
                self._over.wait(SOON_SECONDS)
            except ClusterError as error:
                self._in_trouble(error)
            except Exception as error:  # noqa: BLE001 - a form that nobody foresaw must not end a watch in silence
                what = f"what the API server says is not understood: {type(error).__name__}: {error}"
                self._in_trouble(ClusterError(what, where=str(self._where), do="use a newer tidegate"))

    def _in_trouble(self, error: ClusterError) -> None:
        """Say so and rest; a server that was away is not asked by everybody in the same moment."""
        if self._over.is_set():
            return
        self._hearer.trouble(self._where, error)
        if is_refused(error):
            if not self._version:
                self._hearer.listed(self._where)  # what may not be listed is not shown any longer either
            self._version = ""  # and what may not be watched is listed now and then
        pause = self._pause if isinstance(error, Temporary) else REFUSED_PAUSE
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._over.wait(pause * random.uniform(0.75, 1.25))  # noqa: S311

    def _list(self) -> str:
        """Read all of it, page by page; its version."""
        more = ""
        while True:
            query = {"limit": PAGE} | ({"continue": more} if more else {})
            page = self._connection.get(self._path, **self._chosen(), **query)
            self._hearer.page(self._where, page.get("items") or [], first=not more)
            about = metadata(page)
            more = str(about.get("continue") or "")
            if not more:
                self._hearer.listed(self._where)
                return str(about.get("resourceVersion") or "")

    def _watch(self) -> None:
        """Hear of what changes from where we are, until the server ends it."""
        lines = self._connection.lines(
            self._path, SILENCE_SECONDS, **self._chosen(), watch="true", resourceVersion=self._version,
            allowWatchBookmarks="true", timeoutSeconds=str(WATCH_SECONDS),
        )  # fmt: skip
        self._lines = lines
        if self._over.is_set():
            lines.close()
        self._pause = FIRST_PAUSE
        self._hearer.trouble(self._where, None)
        try:
            for what, found in events_in(lines, str(self._where)):
                if what in NEWS:
                    self._hearer.news(self._where, what, found)
                self._version = str(metadata(found).get("resourceVersion") or self._version)
        finally:
            self._lines = None

    def _chosen(self) -> dict[str, str]:
        return {"labelSelector": self._where.selector} if self._where.selector else {}


def is_refused(error: ClusterError) -> bool:
    """Whether there is nothing to see for this person; any other error hides what is there for a while."""
    return isinstance(error, Forbidden | CrdMissing)


def events_in(lines: Lines, where: str) -> Iterator[tuple[str, Object]]:
    """The events of a watch; raises what an ERROR among them means."""
    for line in lines:
        try:
            event = json.loads(line)
            what, found = event["type"], event["object"]
        except (ValueError, KeyError, TypeError):
            raise ApiDown("a line of the watch is no event", where=where) from None
        if what == "ERROR":
            raise error_of(int(found.get("code") or GONE), found, where)
        yield what, found
