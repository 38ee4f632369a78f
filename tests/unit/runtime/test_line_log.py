"""A log of lines: never in the way, whole lines only, and what is lost is counted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.waiting import wait_until

from tidegate.errors import Temporary
from tidegate_runtime import line_log
from tidegate_runtime.line_log import LineLog


def form(item: str) -> bytes:
    return item.encode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def test_what_is_put_is_written_in_its_order(path: Path) -> None:
    log = LineLog("audit", str(path), form)
    log.start()
    for number in range(2000):
        log.put(f"{number}")
    log.stop()
    assert path.read_text().splitlines() == [str(number) for number in range(2000)]
    assert log.lost == 0


def test_it_goes_on_where_the_last_one_ended_and_others_may_not_read_it(path: Path) -> None:
    for line in ("first", "second"):
        log = LineLog("audit", str(path), form)
        log.start()
        log.put(line)
        log.stop()
    assert path.read_text() == "first\nsecond\n"
    assert path.stat().st_mode & 0o007 == 0


def test_a_file_that_was_moved_away_is_opened_anew(path: Path) -> None:
    log = LineLog("audit", str(path), form)
    log.start()
    log.put("old")
    wait_until(lambda: path.read_text() == "old\n", "the first line")
    moved = path.rename(path.with_suffix(".1"))
    log.put("new")
    wait_until(lambda: path.exists() and path.read_text() == "new\n", "the next line in a new file")
    log.stop()
    assert moved.read_text() == "old\n"


def test_whoever_puts_never_waits_for_a_reader_that_does_not_read(path: Path) -> None:
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = LineLog("audit", str(path), form)
    log.start()
    for _ in range(3 * line_log.MOST_WAITING):
        log.put("x" * 100)
    assert log.lost >= line_log.MOST_WAITING
    os.close(reader)
    log.stop()


def test_lines_that_find_no_room_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        monkeypatch.setattr(os, "write", no_room)
    log = LineLog("audit", "/dev/full", form)
    log.start()
    for _ in range(10):
        log.put("x")
    log.stop()
    assert log.lost == 10


def no_room(descriptor: int, content: bytes) -> int:
    raise OSError(28, "No space left on device")


def test_a_line_that_was_torn_is_ended_before_the_next(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes the first half of a line and no more, for a moment."""
    log = LineLog("audit", str(path), form)
    write, room = os.write, [3]

    def little_room(descriptor: int, content: bytes) -> int:
        if not room:
            raise OSError(28, "No space left on device")
        return write(descriptor, content[: room.pop()])

    monkeypatch.setattr(os, "write", little_room)
    log.start()
    log.put("abcdef")
    wait_until(lambda: log.lost == 1, "the loss is counted")
    monkeypatch.setattr(os, "write", write)
    log.put("whole")
    log.stop()
    assert path.read_text() == "abc\nwhole\n"


def test_an_item_that_makes_no_line_costs_nothing_but_its_line(path: Path) -> None:
    log: LineLog[str] = LineLog("audit", str(path), lambda item: item.encode("ascii"))
    log.start()
    for item in ("first", "\ud800", "third"):
        log.put(item)
    log.stop()
    assert (path.read_text(), log.lost) == ("first\nthird\n", 1)


def test_a_folder_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(Temporary, match="the audit log cannot be written: No such file") as failed:
        LineLog("audit", str(tmp_path / "none" / "audit.log"), form)
    assert failed.value.reason == "LogUnwritable"
