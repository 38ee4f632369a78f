"""The thread that ends runs at their deadline, and notices the ones that do not obey.

ONNX Runtime looks at `RunOptions.terminate` between two operators only: a single long MatMul is not interrupted.  A
run that goes on long after its deadline makes the server `stuck`: liveness fails and new requests are refused.

It sleeps until a run may be late, because a thread that wakes up takes 0.1 to 0.2 ms of a core from the run under way:
twenty times a second that was a third of a percent, of a server that does nothing as well.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable
from typing import Any

from tidegate_runtime.ort import onnxruntime

TICK = 0.05  # seconds that a run may be ended late
LONGEST_SLEEP = 0.25  # seconds until a lost GPU is seen
PATIENCE = 10.0  # a run is not called stuck before it is this late, however short its deadline was


class NextLook:
    """When the watchdog looks next, `at` (time.monotonic), and what a run does that must end sooner."""

    __slots__ = ("_woken", "at")

    def __init__(self) -> None:
        self.at = -math.inf
        self._woken = threading.Event()

    def now(self) -> None:
        self._woken.set()

    def wait(self, seconds: float) -> bool:
        """Until it is time; true where it has become sooner."""
        woken = self._woken.wait(seconds)
        self._woken.clear()
        return woken


class RunLane:
    """One thing that runs one model call at a time; `begin` and `end` cost 0.3 µs together."""

    __slots__ = ("_next_look", "_started", "deadline", "lost", "options")

    def __init__(self, next_look: NextLook) -> None:
        self.options: Any = _quiet_options()
        self.deadline = math.inf
        self.lost = False
        self._started = 0.0
        self._next_look = next_look

    def begin(self, deadline: float) -> None:
        """A run starts that must end before `deadline` (time.monotonic)."""
        self._started = time.monotonic()
        self.deadline = deadline
        if deadline + TICK < self._next_look.at:  # in this order, see `Watchdog.sleep`
            self._next_look.now()

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
    """Looks at every lane when a run may be late, and a few times a second."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self.stuck = False
        self.lost = False
        self._patience = patience
        self._lanes: list[RunLane] = []
        self.next_look = NextLook()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def lane(self) -> RunLane:
        """A new lane; each thread that runs the model has its own."""
        lane = RunLane(self.next_look)
        self._lanes.append(lane)
        return lane

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self.next_look.now()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def _watch(self) -> None:
        while not self._over.is_set():
            self.look(time.monotonic())
            self.sleep()

    def sleep(self) -> None:
        """Until a run may be late, or begins that would be before the next look."""
        now = time.monotonic()
        # Before the deadlines are read: a run that begins is either seen here, or sees this and wakes the thread.
        self.next_look.at = now + LONGEST_SLEEP
        seconds = pause(lane.deadline - now for lane in list(self._lanes))
        self.next_look.at = now + seconds
        if self.next_look.wait(seconds):  # a run that begins now may be ended in a tick: many may begin meanwhile
            self._over.wait(max(0.0, now + TICK - time.monotonic()))

    def look(self, now: float) -> None:
        """One look at every lane; `stuck` is false again when the run came back after all."""
        stuck = [lane.watch(now, self._patience) for lane in list(self._lanes)]  # all of them: `watch` also acts
        self.stuck = any(stuck)
        self.lost = any(lane.lost for lane in list(self._lanes))


def pause(left: Iterable[float]) -> float:
    """How many seconds nobody need look at runs that have so many `left`."""
    return min(max(min(left, default=math.inf) + TICK / 2, TICK), LONGEST_SLEEP)


def _quiet_options() -> Any:
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4  # errors come back as exceptions, with their own words
    return options
