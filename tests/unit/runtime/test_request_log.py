"""A line of the logs, whatever a client chose as its path and ids."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from tidegate_runtime import request_log
from tidegate_runtime.request_log import MOST_TEXT, Answered, RequestLog
from tidegate_runtime.settings import parse

REQUEST = Answered("http", "/v2", "metadata", "ana", 200, 3, 5, arrived=10.0, answered=10.5)
TRACE = "0" * 31 + "1"


def line(folder: Path, answered: Answered) -> dict[str, Any]:
    """What the access log has of a request."""
    path = folder / "access"
    log = RequestLog(parse(["--bundle", "b", "--access-log", str(path)], {}))
    log.note(answered)
    return written(log, path)


def written(log: RequestLog, path: Path) -> dict[str, Any]:
    """The only line of a log that has not begun to write."""
    for one in log.logs:
        one.start()
        one.stop()
    (content,) = path.read_bytes().splitlines()
    found: dict[str, Any] = orjson.loads(content)
    return found


def test_times_are_milliseconds_and_those_of_a_run_only_where_there_was_one(tmp_path: Path) -> None:
    assert line(tmp_path, REQUEST)["totalMs"] == 500.0
    (tmp_path / "run").mkdir()
    ran = line(tmp_path / "run", replace(REQUEST, started=10.1, ended=10.4))
    assert (ran["queueMs"], ran["computeMs"]) == (100.0, 300.0)


@dataclass
class Clock:
    """Stands for the module time."""

    wall: float
    now: float

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.now


def test_the_time_is_the_clocks_on_the_wall_also_after_that_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(wall=1_000_000_000.0, now=10.0)
    monkeypatch.setattr(request_log, "time", clock)
    path = tmp_path / "access"
    log = RequestLog(parse(["--bundle", "b", "--access-log", str(path)], {}))
    clock.wall, clock.now = 2_000_000_000.0, 12.0

    log.note(replace(REQUEST, answered=10.5))

    assert written(log, path)["time"] == "2033-05-18T03:33:18.500Z"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"01-{TRACE}-00f067aa0ba902b7-01-more", TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7", None),
        (f"00-{TRACE}-00f067aa0ba902b7-01-more", None),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_a_trace_is_one_by_the_rules_that_spans_go_by(tmp_path: Path, given: str, kept: str | None) -> None:
    assert line(tmp_path, replace(REQUEST, traceparent=given)).get("traceId") == kept


def test_what_a_client_chose_is_cut_off_and_breaks_no_line(tmp_path: Path) -> None:
    found = line(tmp_path, replace(REQUEST, path='/\n"' + "x" * 9000, request_id="\ud800\n" + "y" * 9000))
    assert found["path"] == '/\n"' + "x" * (MOST_TEXT - 3)
    assert found["requestId"] == "?\n" + "y" * (MOST_TEXT - 2)
