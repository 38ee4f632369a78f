"""How much work servers have, as autoscalers ask for it: from what two looks at each server's counters have in common.

A mean between two looks, not a sample of the moment: an autoscaler remembers the highest recommendation of five
minutes, and the highest of twenty samples is a third above the mean where six requests are in work.  By Little's law
the mean number of requests in work is the time that those answered in a while have taken together, per second of it.

What is not known is never a zero: a server that does not answer is taken to be like the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean

from tidegate.errors import Invalid

SYNTHETIC = b'traffic="synthetic"'  # golden samples are no load
PERCENT = 100
LINE = re.compile(
    rb"^tidegate_(requests_total|request_duration_seconds_(?:sum|count)|queue_duration_seconds_(?:sum|count)"
    rb"|requests_in_flight|start_time_seconds|gpu_utilization)(?:\{([^\n]*)\})? ([^\s]{1,32})$",
    re.MULTILINE,
)
NEEDED = {
    "requests_total", "request_duration_seconds_sum", "request_duration_seconds_count", "queue_duration_seconds_sum",
    "queue_duration_seconds_count", "requests_in_flight", "start_time_seconds",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """What a server has counted since it started, at one look; `at` and `started` in seconds, each of its own clock."""

    at: float
    started: float
    requests: float  # that came, refused ones too: they are wanted as much
    answered: float
    busy: float  # seconds that those answered have taken together
    begun: float  # runs that were waited for
    waited: float  # seconds
    in_flight: float
    gpu: float | None = None  # share of the time that it works; None: the server has none, or it does not tell


@dataclass(frozen=True, slots=True)
class Window:
    """Two looks at one server, the second later."""

    before: Reading
    now: Reading

    @property
    def seconds(self) -> float:
        return self.now.at - self.before.at


def parse_reading(page: bytes, at: float) -> Reading:
    """What matters here of a server's /metrics; `Invalid` where something is missing or no number."""
    found: dict[str, list[float]] = {}
    for name, labels, value in LINE.findall(page):
        if SYNTHETIC not in labels:
            found.setdefault(name.decode(), []).append(_number(value))
    # Of a server that has had no request yet: there is no code to count it under.
    sums = {"requests_total": 0.0} | {name: sum(values) for name, values in found.items()}
    if missing := NEEDED - sums.keys():
        raise Invalid(f"a server's /metrics lacks tidegate_{min(missing)}")
    return Reading(
        at=at,
        started=sums["start_time_seconds"],
        requests=sums["requests_total"],
        answered=sums["request_duration_seconds_count"],
        busy=sums["request_duration_seconds_sum"],
        begun=sums["queue_duration_seconds_count"],
        waited=sums["queue_duration_seconds_sum"],
        in_flight=sums["requests_in_flight"],
        gpu=max(found["gpu_utilization"]) if "gpu_utilization" in found else None,
    )


def _number(text: bytes) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value) or value < 0:
        raise Invalid("a number of a server's /metrics makes no sense")
    return value


def same_life(before: Reading, now: Reading) -> bool:
    """Whether nothing was started anew between the two looks: then their difference says something."""
    return before.started == now.started and before.at < now.at and before.requests <= now.requests


# -- what autoscalers ask for: of windows that are not empty, of which `servers` there are in truth


def concurrency(windows: Sequence[Window], servers: int) -> float | None:
    """Requests in work at once, of all servers together."""
    return _total(map(_in_work, windows), servers)


def _in_work(window: Window) -> float:
    before, now = window.before, window.now
    # Where none has ended meanwhile they are long, and what there is at the moment says more than nothing.
    return (now.busy - before.busy) / window.seconds if now.answered > before.answered else now.in_flight


def requests_per_second(windows: Sequence[Window], servers: int) -> float | None:
    """Requests per second, of all servers together."""
    rates = ((window.now.requests - window.before.requests) / window.seconds for window in windows)
    return _total(rates, servers)


def queue_seconds(windows: Sequence[Window], servers: int) -> float | None:  # noqa: ARG001
    """How long a request waited for the model, in the mean; None where requests wait and none has begun."""
    begun = sum(window.now.begun - window.before.begun for window in windows)
    if begun:
        return sum(window.now.waited - window.before.waited for window in windows) / begun
    return None if any(window.now.in_flight for window in windows) else 0.0


def gpu_utilization(windows: Sequence[Window], servers: int) -> float | None:  # noqa: ARG001
    """Percent of the time that the GPUs work, in the mean of the servers; None where none tells."""
    told = [window.now.gpu for window in windows if window.now.gpu is not None]
    return PERCENT * fmean(told) if told else None


def _total(values: Iterable[float], servers: int) -> float:
    return fmean(values) * servers


Measure = Callable[[Sequence[Window], int], float | None]
MEASURES: Mapping[str, Measure] = {
    "tidegate_concurrency": concurrency,
    "tidegate_requests_per_second": requests_per_second,
    "tidegate_queue_seconds": queue_seconds,
    "tidegate_gpu_utilization": gpu_utilization,
}
