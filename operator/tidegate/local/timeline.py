"""The course of a deployment in rows, one per interval: what `tidegate report` draws.

Bounded: at a few megabytes the file becomes the older of two, so a run of months keeps the last days.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tidegate.local.measures import Meter
from tidegate.local.servers import Fleet
from tidegate.plan.course import row
from tidegate.plan.samples import PodSample
from tidegate.plan.wanted import Plan

LIMIT = 8 * 1024 * 1024
TAIL = 64 * 1024


@dataclass(slots=True)
class Timeline:
    """Rows are appended and never changed."""

    path: Path
    limit: int = LIMIT

    @property
    def older(self) -> Path:
        return self.path.with_name("timeline.1.jsonl")

    def append(self, row: dict[str, Any]) -> None:
        line = json.dumps(row, separators=(",", ":")) + "\n"
        if self.path.exists() and self.path.stat().st_size + len(line) > self.limit:
            self.path.replace(self.older)
        with self.path.open("a") as file:
            file.write(line)

    def last(self) -> dict[str, Any]:
        """The newest row, or nothing: a half-written or lost file costs the totals so far, nothing else."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
                lines = file.read().splitlines()
            row = json.loads(lines[-1]) if lines else {}
        except (OSError, ValueError):
            return {}
        return row if isinstance(row, dict) else {}


class Course:
    """The rows of one deployment: one when an interval is over, and one at once when something happens."""

    def __init__(self, path: Path, now: float) -> None:
        self._timeline = Timeline(path)
        last = self._timeline.last().get("versions", {})
        self._meter = Meter(last if isinstance(last, dict) else {})
        self._closed = now
        self._before: tuple[object, ...] = ()
        self.row: dict[str, Any] = {}

    def observe(self, samples: Iterable[PodSample]) -> None:
        self._meter.observe(samples)

    def note(self, plan: Plan, fleet: Fleet, now: float, interval: timedelta) -> None:
        """Write a row when it is time, or when the phase, the step or the shares have changed."""
        rollout = plan.status.rollout
        state = (plan.status.phase, rollout.step if rollout else None, dict(plan.weights))
        over = now - self._closed >= interval.total_seconds()
        if state == self._before and not plan.decisions and not over:
            return
        self._meter.keep(wanted.record.revision for wanted in plan.revisions)
        if over:
            self._meter.close(now - self._closed)
            self._closed = now
        at = datetime.fromtimestamp(now, UTC)
        self.row = row(
            plan, at, {name: one | {"ready": ready(fleet, name)} for name, one in self._meter.figures().items()}
        )
        self._timeline.append(self.row)
        self._before = state


def ready(fleet: Fleet, revision: str) -> int:
    return sum(server.ready for server in fleet.of(revision))
