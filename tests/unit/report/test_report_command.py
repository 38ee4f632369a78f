"""`tidegate report` on the state that a run left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tidegate.cli.report import report
from tidegate.errors import UsageError

from .told import rollback


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "run.json").write_text('{"deployments": ["fraud"]}')
    rollback(tmp_path / "state" / "fraud")
    return tmp_path / "state"


def test_it_writes_the_page_and_the_data(state: Path, tmp_path: Path) -> None:
    page, data = tmp_path / "r.html", tmp_path / "sub" / "r.json"
    ran = CliRunner().invoke(report, ["fraud", "-o", str(page), "--data", str(data), "--state", str(state)])
    assert ran.output.splitlines() == [f"wrote {page}", f"wrote {data}"]
    assert page.read_text().startswith("<!doctype html>")
    assert json.loads(data.read_text())["apiVersion"] == "tidegate.io/report/v1"


def test_data_can_be_printed(state: Path) -> None:
    ran = CliRunner().invoke(report, ["--data", "-", "--state", str(state), "--local"])
    assert json.loads(ran.output)["deployments"][0]["name"] == "fraud"


def test_without_a_target_it_says_what_to_add(state: Path) -> None:
    ran = CliRunner().invoke(report, ["fraud", "--state", str(state)])
    assert isinstance(ran.exception, UsageError)
    assert "add -o FILE.html" in str(ran.exception)
