"""Files that are read again: what is told, how often, and that nothing ends the looking."""

from __future__ import annotations

from typing import Any

import pytest
from tests.waiting import wait_until

from tidegate_runtime import reloading
from tidegate_runtime.reloading import Reloading, Unusable


class Part:
    flag = "auth-file"

    def __init__(self) -> None:
        self.looks = 0
        self.finds: Any = False

    def look(self) -> bool:
        self.looks += 1
        if isinstance(self.finds, Exception):
            raise self.finds
        return bool(self.finds)

    def looked(self, times: int = 2) -> None:
        until = self.looks + times
        wait_until(lambda: self.looks >= until, "it looks again")


def test_what_changes_is_told_once_and_the_gauge_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "LOOK_SECONDS", 0.01)
    part, told = Part(), []
    monkeypatch.setattr(reloading, "log", lambda level, event, **more: told.append((level, event, more)))
    watching = Reloading((part,))
    watching.start()
    try:
        part.looked()
        assert (told, watching.failing) == ([], {"auth-file": 0})

        part.finds = Unusable("line 3")
        part.looked(5)
        assert watching.failing == {"auth-file": 1}
        part.finds = ZeroDivisionError("a secret")
        part.looked(5)
        part.finds = False
        part.looked()
        assert watching.failing == {"auth-file": 0}
    finally:
        watching.stop()
    bad = "cannot be used: the last good one stays"
    assert told == [
        ("warning", bad, {"file": "auth-file", "why": "line 3"}),
        ("warning", bad, {"file": "auth-file", "why": "ZeroDivisionError"}),
    ]
