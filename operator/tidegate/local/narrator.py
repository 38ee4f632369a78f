"""What a person sees of a run: a live table on a terminal, a line per event anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tidegate.api.status import ModelDeploymentStatus
from tidegate.plan.wanted import Event

if TYPE_CHECKING:
    from rich.live import Live

KEPT_LINES = 12
REFRESH_PER_SECOND = 4


@dataclass(frozen=True, slots=True)
class Shown:
    """One deployment as it is shown."""

    name: str
    status: ModelDeploymentStatus
    row: dict[str, Any]  # the newest of the timeline


@dataclass(slots=True)
class Narrator:
    """Tells events as they come; on a terminal below a table that is kept up to date."""

    look: Callable[[], list[Shown]]
    live: bool = field(default_factory=sys.stdout.isatty)
    _lines: list[str] = field(default_factory=list)
    _screen: Live | None = None

    def start(self) -> None:
        if self.live:
            from rich.live import Live

            self._screen = Live(get_renderable=self._render, refresh_per_second=REFRESH_PER_SECOND)
            self._screen.start()

    def stop(self) -> None:
        if self._screen:
            self._screen.stop()

    def event(self, name: str, event: Event) -> None:
        mark = "!" if event.type == "Warning" else " "
        self.line(f"{mark} {name}: {event.reason}: {event.message}")

    def line(self, text: str) -> None:
        stamped = f"{datetime.now(UTC).astimezone():%H:%M:%S} {text}"
        if self._screen:
            self._lines = [*self._lines[1 - KEPT_LINES :], stamped]
        else:
            sys.stdout.write(stamped + "\n")
            sys.stdout.flush()

    def _render(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        return Group(table(self.look()), *(Text(line, overflow="ellipsis", no_wrap=True) for line in self._lines))


def table(shown: list[Shown]) -> Any:
    """One line per version, and one per deployment for where it stands."""
    from rich.table import Table

    grid = Table("Deployment", "Version", "Role", "Weight", "Ready", "Req/s", "Errors", "p50 ms", "p99 ms")
    for deployment in shown:
        for role, version in roles(deployment.status):
            grid.add_row(deployment.name, version.version, role, f"{version.weight} %", *figures(deployment, version))
        grid.add_row(deployment.name, standing(deployment.status), end_section=True)
    return grid


def roles(status: ModelDeploymentStatus) -> list[tuple[str, Any]]:
    pairs = [("stable", status.stable), ("candidate", status.candidate)]
    return [(role, version) for role, version in pairs if version]


def figures(deployment: Shown, version: Any) -> list[str]:
    row = deployment.row.get("versions", {}).get(version.revision, {})
    numbers = [row.get(name) for name in ("rps", "errors", "p50Ms", "p99Ms")]
    ready = f"{version.ready_replicas}/{version.replicas}"
    return [ready, *("" if number is None else f"{number:g}" for number in numbers)]


def standing(status: ModelDeploymentStatus) -> str:
    """Where a deployment stands, in a phrase."""
    rollout = status.rollout
    reason = rollout.hold_message or rollout.hold_reason if rollout else ""
    return f"{status.phase}: {reason}" if reason else status.phase
