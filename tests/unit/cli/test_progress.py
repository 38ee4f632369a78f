"""Progress on stderr: on a terminal only, and gone when it is over."""

from __future__ import annotations

import io
import sys

import pytest

from tidegate.cli.progress import counted_steps_line, step_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    return shown


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    piped = io.StringIO()
    monkeypatch.setattr(sys, "stderr", piped)
    return piped


def test_a_terminal_shows_the_step(terminal: Terminal) -> None:
    with step_line() as told:
        told("converting")

    assert "converting" in terminal.getvalue()


def test_a_terminal_shows_how_many_steps_there_are(terminal: Terminal) -> None:
    with counted_steps_line() as told:
        assert told is not None
        told(1, 6, "installing onnxruntime 1.23")

    assert "1/6" in terminal.getvalue()
    assert "installing onnxruntime 1.23" in terminal.getvalue()


def test_a_step_is_not_told_in_a_pipe(pipe: io.StringIO) -> None:
    with step_line() as told:
        told("converting")

    assert pipe.getvalue() == ""


def test_counted_steps_are_not_told_in_a_pipe(pipe: io.StringIO) -> None:
    with counted_steps_line() as told:
        assert told is None

    assert pipe.getvalue() == ""
