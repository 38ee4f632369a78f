"""A client's watches, and everything that may happen to an event on its way.

Events of one kind never overtake each other, as on one connection; between kinds they may.  A test holds kinds back,
drops or doubles events, or ends a watch so that only a new list follows (which says nothing of what was deleted).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import orjson

from tidegate.plan.manifests.identity import Kind

from .fields import Object
from .objects import Key, key_of
from .selectors import Selector

Callback = Callable[[Kind, str | None, Object], object]
Listed = Callable[[Kind, frozenset[Key], int], object]  # a list is complete: what it showed, and its version


@dataclass(frozen=True, slots=True)
class Change:
    """One event, numbered in the order in which the watch saw it."""

    number: int
    kind: Kind
    type: str
    name: str
    text: bytes

    @property
    def obj(self) -> Object:
        found: Object = orjson.loads(self.text)
        return found


Copies = Callable[[Change], int]  # how often an event arrives: 0 is a lost one, 2 a doubled one


def once(change: Change) -> int:
    return 1


class Source(Protocol):
    """What a watch lists."""

    version: int

    def matching(self, kind: Kind, selector: Selector) -> list[Object]: ...


class Watch:
    """What one client is told.  Events arrive at once unless their kind is held."""

    def __init__(self, callback: Callback, selectors: Mapping[Kind, Selector], source: Source) -> None:
        self._callback = callback
        self._selectors = selectors
        self._source = source
        self._held: set[Kind] = set()
        self._waiting: list[Change] = []
        self._count = 0
        self.copies: Copies = once
        self.after_list: Listed | None = None
        self.open = True

    # -- what a test does to it ---------------------------------------------------------------------

    def hold(self, *kinds: Kind) -> None:
        """Events of these kinds (none named: of all) wait from now on."""
        self._held |= set(kinds or self._selectors)

    def release(self, *kinds: Kind, newest_only: bool = False) -> None:
        """Deliver what waits, kind after kind in the order named (none named: all, as it came), and hold no longer.

        `newest_only`: of several events of one object only the last arrives, as after a pause of the client.
        """
        named = kinds or tuple(self._selectors)
        self._held -= set(named)
        due = [change for change in self._waiting if change.kind in named]
        self._waiting = [change for change in self._waiting if change.kind not in named]
        if kinds:
            due.sort(key=lambda change: (named.index(change.kind), change.number))
        for change in _newest(due) if newest_only else due:
            self._deliver(change.kind, change.type, change.obj)

    def waiting(self) -> tuple[Change, ...]:
        return tuple(self._waiting)

    def relist(self, *kinds: Kind) -> None:
        """The watch has ended (410): what waits is lost, and what is there now comes as a list."""
        named = kinds or tuple(self._selectors)
        self._waiting = [change for change in self._waiting if change.kind not in named]
        for kind in named:
            there = self._source.matching(kind, self._selectors[kind])
            for obj in there:
                self._deliver(kind, None, obj)
            if self.after_list and self.open:
                self.after_list(kind, frozenset(map(key_of, there)), self._source.version)

    def close(self) -> None:
        """Whoever listened is gone."""
        self.open = False
        self._waiting.clear()

    # -- what the server does -------------------------------------------------------------------------

    def tell(self, kind: Kind, old: bytes | None, new: bytes | None, version: str) -> None:
        """An object changed from `old` to `new`; to a watch with a selector it may come and go thereby."""
        selector = self._selectors.get(kind)
        if selector is None or not self.open:
            return
        before = orjson.loads(old) if old else None
        after = orjson.loads(new) if new else None
        was, is_now = _matches(selector, before), _matches(selector, after)
        if not was and not is_now:
            return
        shown = after if is_now else _last_seen(before, version)
        event = "DELETED" if not is_now else "MODIFIED" if was else "ADDED"
        self._offer(kind, event, shown or {})

    def _offer(self, kind: Kind, event: str, obj: Object) -> None:
        self._count += 1
        name = f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
        change = Change(self._count, kind, event, name, orjson.dumps(obj))
        for _ in range(self.copies(change)):
            if kind in self._held:
                self._waiting.append(change)
            else:
                self._deliver(kind, event, change.obj)

    def _deliver(self, kind: Kind, event: str | None, obj: Object) -> None:
        if self.open:
            self._callback(kind, event, obj)


def _matches(selector: Selector, obj: Object | None) -> bool:
    return obj is not None and selector(obj["metadata"].get("labels") or {})


def _last_seen(obj: Object | None, version: str) -> Object:
    """What left the watch, as it was; its version is that of the change which took it away."""
    assert obj is not None
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": version}}


def _newest(changes: Iterable[Change]) -> list[Change]:
    last = {(change.kind, change.name): change for change in changes}
    return sorted(last.values(), key=lambda change: change.number)
