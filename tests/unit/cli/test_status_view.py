"""How a deployment looks: what an older or newer operator leaves out is left out, and a terminal gets guides."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidegate.cli.output import guides, print_tree
from tidegate.cli.status_view import age, print_status


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"), (59, "59s"), (60, "1m"), (95, "1m35s"), (599, "9m59s"), (725, "12m"), (3 * 3600 + 240, "3h4m"),
        (12 * 3600, "12h"), (2 * 86400 + 7200, "2d2h"), (40 * 86400, "40d"), (-5, "0s"),
    ],
)  # fmt: skip
def test_ages_are_as_kubectl_writes_them(seconds: int, shown: str) -> None:
    since = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")

    assert age(since) == shown


def test_a_tree_has_guides_to_each_row() -> None:
    assert guides([0, 1, 2, 2, 1, 2]) == ["", "├─ ", "│  ├─ ", "│  └─ ", "└─ ", "   └─ "]


def test_a_terminal_gets_guides_and_text_that_looks_like_markup_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")

    print_tree(["name", "status"], [(0, ["fraud", "Holding"]), (1, ["a" * 100, "at [0, 0] [bold]"])], {})

    said = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert f"└─ {'a' * 100}" in said
    assert "at [0, 0] [bold]" in said


def test_a_terminal_that_cannot_draw_gets_plain_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")

    print_tree(["name"], [(0, ["fraud"]), (1, ["v1"])], {})

    assert capsys.readouterr().out == "NAME\nfraud\n  v1\n"


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"stable": {}},
        {"rollout": {}, "candidate": {"weight": 5}, "conditions": [{"type": "Ready", "status": "True"}]},
        {"rollout": {"measurements": {"stable": {"requests": 5}}, "checks": [{"name": "errors"}]}},
    ],
)
def test_a_status_that_lacks_parts_is_shown_as_far_as_it_goes(
    known: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    print_status([{"name": "fraud", "target": "local", "status": known}])
    print_status([{"name": name, "target": "local", "status": known} for name in ("fraud", "churn")])

    said = capsys.readouterr().out
    assert said.startswith("fraud: starting\n")
    assert "churn" in said


def test_what_others_have_written_cannot_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "1.0\x1b[2J\r\nfake"
    known = {
        "stable": {"version": evil},
        "conditions": [{"type": "Ready", "status": "True", "reason": "x", "message": evil}],
    }

    print_status([{"name": "fraud", "target": "local", "status": known}])
    print_status([{"name": name, "target": "local", "status": known} for name in ("fraud", "churn")])

    said = capsys.readouterr().out
    assert "1.0\N{REPLACEMENT CHARACTER}[2J" in said
    assert not {"\x1b", "\r"} & set(said)


def test_a_command_that_nobody_has_taken_up_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    print_status([{"name": "fraud", "target": "local", "status": {}, "waiting": {"abort": "bbb@2026-01-01T00:00:00Z"}}])

    assert "  abort of bbb@2026-01-01T00:00:00Z is asked for\n" in capsys.readouterr().out


def test_a_run_that_has_ended_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    print_status([{"name": "fraud", "target": "local", "running": False, "url": "http://x", "status": {}}])

    assert "fraud: starting on http://x (not running)" in capsys.readouterr().out
