"""The thread that ends runs at their deadline, and notices the ones that do not obey.

ONNX Runtime looks at `RunOptions.terminate` between two operators only: a single long MatMul is not interrupted.  A
run that goes on long after its deadline makes the server `stuck`: liveness fails and new requests are refused.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from tidegate_runtime.ort import onnxruntime

TICK = 0.05  # how late a run may be ended
PATIENCE = 10.0  # a run is not called stuck before it is this late, however short its deadline was


class RunLane:
    """One thing that runs one model call at a time; `begin` and `end` cost 0.3 µs together."""

    __slots__ = ("_started", "deadline", "lost", "options")

    def __init__(self) -> None:
        self.options: Any = _quiet_options()
        self.deadline = math.inf
        self.lost = False
        self._started = 0.0

    def begin(self, deadline: float) -> None:
        """A run starts that must end before `deadline` (time.monotonic)."""
        self._started = time.monotonic()
        self.deadline = deadline

    def end(self) -> bool:
        """The run is over; true when the watchdog terminated it."""
        late = time.monotonic() > self.deadline
        self.deadline = math.inf
        if not late:
            return False
        # The watchdog may be about to terminate these very options: the next run gets others.
        terminated = bool(self.options.terminate)
        self.options = _quiet_options()
        return terminated

    def watch(self, now: float, patience: float) -> bool:
        """Terminate the run when it is late; true when it ignored that for twice its time."""
        options, deadline, started = self.options, self.deadline, self._started  # in this order, see `end`
        if now <= deadline:
            return False
        options.terminate = True
        return now - deadline > max(2 * (deadline - started), patience)


class Watchdog:
    """Looks at every lane 20 times a second."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self.stuck = False
        self.lost = False
        self._patience = patience
        self._lanes: list[RunLane] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def lane(self) -> RunLane:
        """A new lane; each thread that runs the model has its own."""
        lane = RunLane()
        self._lanes.append(lane)
        return lane

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def _watch(self) -> None:
        while not self._over.wait(TICK):
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """One look at every lane; `stuck` is false again when the run came back after all."""
        stuck = [lane.watch(now, self._patience) for lane in list(self._lanes)]  # all of them: `watch` also acts
        self.stuck = any(stuck)
        self.lost = any(lane.lost for lane in list(self._lanes))


def _quiet_options() -> Any:
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4  # errors come back as exceptions, with their own words
    return options
