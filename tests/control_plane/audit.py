"""What the API server was asked, by whom: its audit log, from which tests count writes and reads.

A request is in the log when its answer has arrived, so a count right after a call is complete.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
READS = frozenset({"get", "list", "watch"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was answered, or a watch that was begun; `resource` holds the subresource, as `pods/status`."""

    user: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int
    agent: str
    at: str
    group: str = ""  # of the resource
    allowed: bool = True  # by RBAC: a request can be refused for other reasons

    @property
    def writes(self) -> bool:
        return self.verb in WRITES


@dataclass(frozen=True, slots=True)
class Mark:
    """A point in the log."""

    offset: int


@dataclass(frozen=True, slots=True)
class Audit:
    """The log of one API server."""

    log: Path

    def mark(self) -> Mark:
        """Now; requests before it do not count."""
        return Mark(self.log.stat().st_size if self.log.exists() else 0)

    def since(
        self,
        mark: Mark,
        *,
        user: str | None = None,
        namespace: str | None = None,
        resource: str | None = None,
        verbs: Iterable[str] | None = None,
    ) -> list[Request]:
        """The requests after a mark, in the order of their answers, of those that are asked for."""
        wanted = None if verbs is None else frozenset(verbs)
        return [
            request
            for request in self._read(mark)
            if user in (None, request.user)
            and namespace in (None, request.namespace)
            and resource in (None, request.resource)
            and (wanted is None or request.verb in wanted)
        ]

    def writes(self, mark: Mark, **which: str | None) -> list[Request]:
        return self.since(mark, verbs=WRITES, **which)

    def reads(self, mark: Mark, **which: str | None) -> list[Request]:
        return self.since(mark, verbs=READS, **which)

    def addresses(self, mark: Mark) -> list[Request]:
        """The requests for what is no object, as far as they are written down: an address stands for the resource."""
        return [about(line, resource=line["requestURI"]) for line in self._lines(mark) if "objectRef" not in line]

    def _read(self, mark: Mark) -> list[Request]:
        return [request for line in self._lines(mark) if (request := request_of(line))]

    def _lines(self, mark: Mark) -> Iterator[Mapping[str, Any]]:
        if not self.log.exists():
            return
        with self.log.open("rb") as file:
            file.seek(mark.offset)
            whole, _, _ = file.read().rpartition(b"\n")
        yield from map(orjson.loads, whole.splitlines())


def counted(requests: Iterable[Request]) -> Counter[tuple[str, str]]:
    """How many of each verb and resource: what a test of costs compares."""
    return Counter((request.verb, request.resource) for request in requests)


def request_of(line: Mapping[str, Any]) -> Request | None:
    """A line of the log; None for the end of a watch, whose begin was there before, and for what is no object."""
    found = line.get("objectRef")
    if found is None or (line["verb"] == "watch") != (line["stage"] == "ResponseStarted"):
        return None
    return about(line, resource="/".join(found[key] for key in ("resource", "subresource") if found.get(key)))


def about(line: Mapping[str, Any], *, resource: str) -> Request:
    """What a line says, with a resource that its caller makes of it."""
    found = line.get("objectRef", {})
    return Request(
        user=line["user"]["username"],
        verb=line["verb"],
        resource=resource,
        namespace=found.get("namespace", ""),
        name=found.get("name", ""),
        code=line.get("responseStatus", {}).get("code", 0),
        agent=line.get("userAgent", ""),
        at=line["requestReceivedTimestamp"],
        group=found.get("apiGroup", ""),
        allowed=line.get("annotations", {}).get("authorization.k8s.io/decision") != "forbid",
    )
