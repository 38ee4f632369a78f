"""Steps that take long are told on a terminal, and only there."""

from __future__ import annotations

import sys

import pytest

from tidegate.cli.progress import step_line


def test_nothing_is_written_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with step_line() as told:
        told("converting")

    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_the_step(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    with step_line() as told:
        told("converting")

    out, err = capsys.readouterr()
    assert (out, "converting" in err) == ("", True)
