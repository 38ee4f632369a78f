"""Progress on stderr: on a terminal only, and gone when it is over."""

from __future__ import annotations

import contextlib
import io

import pytest
from tests.waiting import wait_until

from tidegate.cli.progress import counted_steps_line, step_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def test_a_terminal_shows_the_step() -> None:
    with contextlib.redirect_stderr(Terminal()) as terminal, step_line() as told:
        told("converting")
        wait_until(lambda: "converting" in terminal.getvalue(), "it is drawn")


def test_a_terminal_shows_how_many_steps_there_are() -> None:
    with contextlib.redirect_stderr(Terminal()) as terminal, counted_steps_line() as told:
        assert told is not None
        told(1, 6, "installing onnxruntime 1.23")

    assert "1/6" in terminal.getvalue()
    assert "installing onnxruntime 1.23" in terminal.getvalue()


def test_a_step_is_not_told_in_a_pipe() -> None:
    with contextlib.redirect_stderr(io.StringIO()) as pipe, step_line() as told:
        told("converting")

    assert pipe.getvalue() == ""


def test_counted_steps_are_not_told_in_a_pipe() -> None:
    with contextlib.redirect_stderr(io.StringIO()) as pipe, counted_steps_line() as told:
        assert told is None

    assert pipe.getvalue() == ""
