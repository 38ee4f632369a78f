"""So many at a time, counted over all processes of the server.

Between processes a slot is a byte of a file without a name, which one of them has locked: the kernel gives back what a
process held that died.  Such locks belong to processes, so each also knows what is its own.
"""

from __future__ import annotations

import fcntl
import os
import tempfile


class Slots:
    """Used on the loop. `share` before another process is started, which is then given the descriptor."""

    def __init__(self, count: int, descriptor: int | None = None) -> None:
        self.count = count
        self._shared = descriptor
        self._own: set[int] = set()

    def share(self) -> int:
        """The descriptor for other processes, from now on asked about each slot."""
        if self._shared is None:
            self._shared = _nameless()
        return self._shared

    @property
    def inherited(self) -> tuple[int, ...]:
        """What another process must be given; nothing where they are not shared."""
        return () if self._shared is None else (self._shared,)

    @property
    def free(self) -> bool:
        """Whether `take` would give one now."""
        found = self.take()
        if found is not None:
            self.give_back(found)
        return found is not None

    def take(self) -> int | None:
        """A slot, until it is given back; None when all are taken."""
        for slot in range(self.count):
            if slot not in self._own and self._lock(slot):
                self._own.add(slot)
                return slot
        return None

    def give_back(self, slot: int) -> None:
        self._own.discard(slot)
        if self._shared is not None:
            fcntl.lockf(self._shared, fcntl.LOCK_UN, 1, slot)

    def _lock(self, slot: int) -> bool:
        if self._shared is None:
            return True
        try:
            fcntl.lockf(self._shared, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
        except OSError:
            return False
        return True


def _nameless() -> int:
    if hasattr(os, "memfd_create"):  # Linux: also where no folder can be written
        return os.memfd_create("slots")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
