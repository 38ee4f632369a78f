"""`status --watch`: each change is shown once, and a server that is away for a while is waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tidegate.cli.status import watched
from tidegate.errors import Failed, Temporary

Documents = list[Any]


class Over(Exception):
    """The test has seen enough."""


def looks(*scenes: str | Exception) -> Callable[[], Documents]:
    told: Iterator[str | Exception] = iter([*scenes, Over()])

    def look() -> Documents:
        scene = next(told)
        if isinstance(scene, Exception):
            raise scene
        return [{"status": {"phase": scene}}]

    return look


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The phases that are printed, until the scenes end by their last one, an error."""
    monkeypatch.setattr("tidegate.cli.status.time.sleep", lambda _: None)

    def run(*scenes: str | Exception) -> list[str]:
        printed: list[str] = []
        with pytest.raises((Over, Failed)):
            watched(looks(*scenes), lambda found: printed.append(found[0]["status"]["phase"]), clears=False)
        return printed

    return run


def test_each_change_is_shown_once(watch: Callable[..., list[str]]) -> None:
    assert watch("Proving", "Proving", "Holding", "Holding", "Serving") == ["Proving", "Holding", "Serving"]


def test_a_server_that_is_away_is_told_once_and_waited_for(
    watch: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    away = Temporary("it is away")

    assert watch("Holding", away, away, "Holding", "Serving", away) == ["Holding", "Serving"]
    assert capsys.readouterr().err == "error: it is away: trying again\n" * 2


def test_what_is_gone_for_good_ends_the_watch(watch: Callable[..., list[str]]) -> None:
    assert watch("Holding", Failed("it is deleted"), "Serving") == ["Holding"]
