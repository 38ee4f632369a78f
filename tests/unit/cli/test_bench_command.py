"""`tidegate bench` as it is typed: what cannot be meant, and what is shown of a measurement that goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.bench.levels import level
from tests.unit.cli.conftest import Tidegate
from tests.unit.client.scripted_server import Answer, Scripted, following

from tidegate.bench.record import Verdict
from tidegate.bench.sweep import Findings
from tidegate.client import NotConnected

METADATA = Answer(
    body=json.dumps(
        {"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}], "outputs": []}
    ).encode()
)
Ends = Callable[[BaseException | None], None]


def model(server: Scripted) -> str:
    return f"{server.url}/v2/models/m"


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Ends:
    """Has a sweep measure one level, unless it is interrupted before, and end with an error."""

    def end(error: BaseException | None) -> None:
        async def sweep(_work: object, _aim: object, found: Findings, _tell: object) -> None:
            found.limit, found.alone = 0.03, level(0.0, 0.01, Verdict.UNDECIDED)
            if isinstance(error, KeyboardInterrupt):
                raise error
            found.steps.append(level(30.0, 0.012, Verdict.HOLDS))
            if error:
                raise error

        monkeypatch.setattr("tidegate.bench.sweep.sweep", sweep)

    return end


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--rate", "inf"], "not in the range"),
        (["--rate", "30000000"], "not in the range"),
        (["--max-rate", "30000000"], "not in the range"),
        (["--rate", "nan"], "not a number of requests a second"),
        (["--max-rate", "nan"], "not a number of requests a second"),
        (["--rate", "5", "--max-rate", "6"], "one rate has no highest one"),
        (["--closed", "--max-rate", "6"], "a closed loop has no rates"),
    ],
)
def test_rates_that_cannot_be_meant_are_wrong_usage(tidegate: Tidegate, arguments: list[str], why: str) -> None:
    code, _, error = tidegate("bench", "bundle", *arguments)

    assert code == 2
    assert why in error


def test_a_folder_whose_name_begins_like_an_address_is_a_bundle(
    tidegate: Tidegate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("grpc_model").mkdir()

    _, _, error = tidegate("bench", "grpc_model")

    assert error.startswith("error: grpc_model/bundle.yaml: no such file")


def test_what_was_measured_before_the_server_was_lost_is_shown(tidegate: Tidegate, ends: Ends) -> None:
    ends(NotConnected("no connection: refused", where="127.0.0.1:1"))

    with following(METADATA) as server:
        code, printed, error = tidegate("bench", model(server), "-o", "json")

    assert code == NotConnected.exit_code
    assert [one["requestsPerSecond"] for one in json.loads(printed)["levels"]] == [30.0]
    assert json.loads(error)["error"]["reason"] == "NotConnected"


def test_what_was_measured_is_printed_before_it_is_drawn(
    tidegate: Tidegate, ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    ends(None)
    monkeypatch.setattr("tidegate.cli.bench_view.plot", full)
    monkeypatch.setattr("tidegate.bench.plot.plot", full)
    with following(METADATA) as server:
        code, printed, error = tidegate("bench", model(server), "--plot", str(tmp_path / "x.svg"), "-o", "json")

    assert json.loads(printed)["levels"]
    assert (code, "No space left on device" in error) == (1, True)


def test_a_folder_that_cannot_be_made_for_the_plot_is_told_before_anything_is_measured(
    tidegate: Tidegate, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    _, _, error = tidegate("bench", "nothing", "--plot", str(tmp_path / "file/x.svg"))

    assert "file" in error
    assert "nothing" not in error


def test_a_plot_of_no_level_is_told_not_to_be_there(tidegate: Tidegate, ends: Ends, tmp_path: Path) -> None:
    ends(KeyboardInterrupt())

    with following(METADATA) as server:
        code, printed, error = tidegate("bench", model(server), "--plot", str(tmp_path / "x.svg"))

    assert code == 130
    assert "interrupted: this is what was measured until then" in printed
    assert error == f"note    nothing is drawn in {tmp_path}/x.svg: no level was measured\n"
