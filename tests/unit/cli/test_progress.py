"""Progress on stderr: on a terminal only, and gone when it is over."""

from __future__ import annotations

import io

import pytest

from tidegate.cli.progress import steps_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_steps_are_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")

    with steps_line() as told:
        assert told is not None
        told(1, 6, "installing onnxruntime 1.23")

    assert "1/6" in terminal.getvalue()
    assert "installing onnxruntime 1.23" in terminal.getvalue()


def test_steps_are_not_told_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr("sys.stderr", pipe)

    with steps_line() as told:
        assert told is None

    assert pipe.getvalue() == ""
