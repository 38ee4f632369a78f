"""Whether this server is starting, ready, draining or failed: one value the loop writes and the probes read."""

from __future__ import annotations

from enum import Enum

from tidegate_runtime.interfaces import Watchdog


class Phase(Enum):
    """The life of a server, in order; it never goes back."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class Health:
    """The phase, and what the watchdog adds to it. Written by the main thread only, read by any."""

    __slots__ = ("_watchdog", "phase", "sibling_reason")

    def __init__(self, watchdog: Watchdog | None = None) -> None:
        self.phase = Phase.STARTING
        self.sibling_reason = ""  # of another process of this server
        self._watchdog = watchdog

    @property
    def started(self) -> bool:
        return self.phase in (Phase.READY, Phase.DRAINING)

    @property
    def live(self) -> bool:
        return self.phase is not Phase.FAILED and not self.reason

    @property
    def ready(self) -> bool:
        return self.phase is Phase.READY and not self.reason

    @property
    def reason(self) -> str:
        """Why only a restart helps, in a code of docs/errors.md; empty while there is hope."""
        if self._watchdog is None:
            return self.sibling_reason
        reason = "RunStuck" if self._watchdog.stuck else "DeviceLost" if self._watchdog.lost else ""
        return reason or self.sibling_reason
