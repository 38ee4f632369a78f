"""What there is to show, and what has changed since somebody last looked.

A page is told states, not events: each rollout is held in its newest form alone, in the order of the changes.  Whoever
reads slowly finds fewer and newer forms, so no page has a queue that could grow.  Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import takewhile

Key = tuple[str, str]  # namespace, name

MOST_ROLLOUTS = 5000
REMEMBERED_REMOVALS = 1000


@dataclass(frozen=True, slots=True)
class Changes:
    """What whoever was at an earlier position lacks; with `reset` nothing of what they have counts any more."""

    position: int
    reset: bool
    put: tuple[bytes, ...]
    gone: tuple[Key, ...]
    facts: bytes | None


class Board:
    """Rollouts as JSON, by key; `facts` is a JSON object about the whole, such as what cannot be seen.

    `epoch` tells this board from another one whose positions mean nothing here.
    """

    def __init__(self, epoch: str, most: int = MOST_ROLLOUTS, remembered: int = REMEMBERED_REMOVALS) -> None:
        self.epoch = epoch
        self.position = 0
        self.left_out = False
        self._most, self._remembered = most, remembered
        self._rows: dict[Key, tuple[int, bytes]] = {}  # the latest change last
        self._gone: OrderedDict[Key, int] = OrderedDict()  # so too
        self._forgotten = 0  # the latest removal that is remembered no more
        self._facts, self._facts_at = b"{}", 0

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, key: Key, content: bytes) -> bool:
        """Hold the newest form of a rollout; whether that is news. Beyond the bound new ones are left out."""
        held = self._rows.get(key)
        if held and held[1] == content:
            return False
        if held is None and len(self._rows) >= self._most:
            self.left_out = True
            return False
        self._rows.pop(key, None)
        self._gone.pop(key, None)
        self.position += 1
        self._rows[key] = self.position, content
        return True

    def remove(self, key: Key) -> bool:
        """Forget a rollout; whether it was there."""
        if self._rows.pop(key, None) is None:
            return False
        self.position += 1
        self._gone[key] = self.position
        if len(self._gone) > self._remembered:
            _, self._forgotten = self._gone.popitem(last=False)
        return True

    def tell(self, facts: bytes) -> bool:
        """Hold the newest facts; whether they are news."""
        if facts == self._facts:
            return False
        self.position += 1
        self._facts, self._facts_at = facts, self.position
        return True

    def since(self, position: int | None) -> Changes:
        """What has changed after a position of this board; all there is after None, or after one that is too old."""
        if position is None or not self._forgotten <= position <= self.position:
            return Changes(self.position, True, tuple(content for _, content in self._rows.values()), (), self._facts)
        put = [content for _, content in takewhile(lambda row: row[0] > position, reversed(self._rows.values()))]
        gone = [key for key, _ in takewhile(lambda row: row[1] > position, reversed(self._gone.items()))]
        facts = self._facts if self._facts_at > position else None
        return Changes(self.position, False, tuple(put), tuple(gone), facts)
