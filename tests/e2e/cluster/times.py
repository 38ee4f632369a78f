"""How long each phase took: on the terminal, and in a file of build/bench."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "build/bench"
RECORD = "TIDEGATE_E2E_RECORD"  # its value is the file's name
Row = dict[str, str | float]


@dataclass
class Times:
    """Seconds by phase; a phase that several stories have is measured in each."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def note(self, phase: str, seconds: float) -> None:
        self.seconds[phase].append(round(seconds, 2))

    @contextmanager
    def measured(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.note(phase, time.monotonic() - began)

    def rows(self) -> list[Row]:
        return [
            {"phase": phase, "times": len(all_), "median": round(statistics.median(all_), 1), "most": max(all_)}
            for phase, all_ in self.seconds.items()
        ]

    def write(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / os.environ[RECORD]).write_text(json.dumps({"rows": self.rows()}, indent=1) + "\n")
