"""News of ModelDeployments: a watch that says when to look again, so that nobody has to ask once a second.

A thread follows the watch, and whoever looks is woken.  A change says no more than that there is one: what is there is
read anew, so that nothing is lost when a watch breaks, is too old (410) or must begin again.  Without the right to
watch one looks once a second.
"""

from __future__ import annotations

import json
import threading
import time

from tidegate.cluster.api import path
from tidegate.cluster.errors import ApiDown, ClusterError, Expired, Throttled
from tidegate.cluster.kubectl.connection import Connection
from tidegate.plan.manifests.identity import MODEL_DEPLOYMENT

WATCH_SECONDS, LATE_SECONDS = 240, 20  # of one watch, by the server's clock; and until it is given up
AGAIN_SECONDS = 1.0
UNASKED_SECONDS = 1.0  # between two looks where nobody may watch
BEGINS, ENDS = frozenset({"ADDED", "MODIFIED", "DELETED"}), "ERROR"


class Changes:
    """Of one deployment, or of all of a namespace (None: of the cluster), from now on."""

    def __init__(self, connection: Connection, namespace: str | None, name: str = "", longest: float = 30.0) -> None:
        """`longest`: seconds after which one looks even without news."""
        self._connection = connection
        self._where = path(MODEL_DEPLOYMENT, namespace)
        self._which = {"fieldSelector": f"metadata.name={name}"} if name else {}
        self._longest = longest
        self._looked_at = time.monotonic()
        self._news = threading.Event()
        threading.Thread(target=self._follow, name="changes", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Whether to look again: something has changed, or it is long ago; False after so many seconds without."""
        left = self._looked_at + self._longest - time.monotonic()
        news = self._news.wait(max(0.0, min(seconds, left)))
        self._news.clear()
        again = news or seconds >= left
        self._looked_at = time.monotonic() if again else self._looked_at
        return again

    def _follow(self) -> None:
        while True:
            pause = AGAIN_SECONDS  # also of a watch that ends at once, again and again
            try:
                self._watch()
            except Expired:
                pass
            except (ApiDown, Throttled) as error:
                pause = max(pause, getattr(error, "retry_after", 0.0))
            except ClusterError:  # no right, or a server that cannot: whoever looks is told why, if it concerns that
                self._longest = UNASKED_SECONDS
                self._news.set()
                return
            time.sleep(pause)

    def _watch(self) -> None:
        """One watch, from the state of now until it ends; raises Expired, ApiDown and other errors of the server."""
        there = self._connection.get(self._where, limit="1", **self._which)
        version = str((there.get("metadata") or {}).get("resourceVersion") or "")
        asked = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(WATCH_SECONDS), **self._which}
        self._news.set()  # what came before the version was never announced
        for line in self._connection.lines(self._where, WATCH_SECONDS + LATE_SECONDS, **asked):
            self._heard(line)

    def _heard(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            raise ApiDown("the watch says what is no document", where=self._where)
        if event.get("type") == ENDS:
            raise Expired("the watch is too old", where=self._where)
        if event.get("type") in BEGINS:
            self._news.set()
