"""`tidegate predict` with a run on this machine, as it is typed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.local.local_run import INPUT, TIDEGATE, Local

ONE = "x=[[1, 2, 3, 4]]"


def test_a_deployment_is_asked_by_its_name(steady: Local) -> None:
    asked = steady.tidegate("predict", "fraud", "--input", ONE)

    assert asked.returncode == 0, asked.stderr
    table, by = asked.stdout.splitlines()[:-1], asked.stdout.splitlines()[-1]
    assert [row.split() for row in table] == [
        ["OUTPUT", "TYPE", "SHAPE", "VALUES"],
        ["scores", "FP32", "[1,", "3]", "6.0", "7.0", "8.0"],
        ["label", "INT64", "[1]", "2"],
    ]
    assert by.startswith("fraud: version v1 (revision ")


def test_the_only_deployment_needs_no_name_and_the_answer_can_be_had_as_data(steady: Local) -> None:
    asked = steady.tidegate("predict", "--input", ONE, "-o", "json")

    told = json.loads(asked.stdout)
    assert told["version"] == "v1"
    assert told["outputs"]["scores"] == {"datatype": "FP32", "shape": [1, 3], "data": [[6.0, 7.0, 8.0]]}
    quiet = steady.tidegate("predict", "--input", ONE, "--quiet")
    assert json.loads(quiet.stdout) == {"scores": [[6.0, 7.0, 8.0]], "label": [2]}


@pytest.mark.parametrize("path", ["", "/infer", "/versions/v1", "/versions/v1/infer"])
def test_the_address_that_a_run_prints_is_asked_as_it_is(steady: Local, path: str) -> None:
    url = f"http://127.0.0.1:{steady.port}/v2/models/fraud{path}"

    asked = steady.tidegate_alone("predict", url, "--input", ONE, "--header", "x-model-version: canary", "--quiet")

    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["label"] == [2]


def test_inputs_come_from_files_and_outputs_go_to_one(steady: Local, tmp_path: Path) -> None:
    rows = np.array([[1, 2, 3, 4]], np.float32)
    np.save(tmp_path / "x.npy", rows)
    np.savez(tmp_path / "all.npz", x=rows)
    (tmp_path / "all.json").write_text(json.dumps({"x": rows.tolist()}))

    for number, given in enumerate([f"x={tmp_path}/x.npy", f"{tmp_path}/all.npz", f"{tmp_path}/all.json"]):
        saved = tmp_path / f"{number}.npz"
        asked = steady.tidegate("predict", "fraud", "--input", given, "--save", str(saved))
        assert asked.returncode == 0, asked.stderr
        with np.load(saved) as outputs:
            assert outputs["scores"].tolist() == [[6, 7, 8]]


def test_inputs_come_from_standard_input(steady: Local) -> None:
    command = [*TIDEGATE, "predict", "fraud", "--state", str(steady.state), "--input", "-", "--quiet"]

    asked = subprocess.run(
        command, input='{"x": [[1, 2, 3, 4]]}', capture_output=True, text=True, timeout=30, check=True
    )

    assert json.loads(asked.stdout)["label"] == [2]


@pytest.mark.parametrize(
    ("arguments", "code", "reason", "why"),
    [
        (["--input", "x=[1, 2]"], 1, "RequestRefused", "input 'x': shape [2] does not fit"),
        (["--input", "x=[[1], [2, 3]]"], 1, "Invalid", "lists of different lengths"),
        (["--input", "z=[1]"], 1, "Invalid", "no input 'z'"),
        (["--input", "x=hello"], 1, "Invalid", "texts need quotes"),
        (["--input", "x=nowhere.npy"], 1, "LocalError", "No such file"),
        (["--input", ONE, "--version", "v9"], 1, "RequestRefused", "v9"),
        (["--input", ONE, "--header", "x"], 2, "Usage", "NAME:VALUE"),
        (["--input", ONE, "--header", "content-length: 3"], 2, "Usage", "written by the client itself"),
        (["--input", ONE, "--input", ONE], 2, "Usage", "'x' is given twice"),
        ([], 2, "Usage", "no input: it takes x FP32 [-1, 4]"),
    ],
)
def test_what_goes_wrong_is_told_in_a_sentence(
    steady: Local, arguments: list[str], code: int, reason: str, why: str
) -> None:
    asked = steady.tidegate("predict", "fraud", *arguments, "-o", "json")

    error = json.loads(asked.stderr)["error"]
    assert (asked.returncode, error["reason"]) == (code, reason)
    assert why in json.dumps(error)


def test_what_people_have_at_hand_is_refused_with_what_to_write(steady: Local, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((1, 4)))
    (tmp_path / "request.json").write_text(json.dumps(INPUT))

    array = steady.tidegate("predict", "fraud", "--input", f"x={tmp_path}/x.npy")
    request = steady.tidegate("predict", "fraud", "--input", f"{tmp_path}/request.json")

    assert array.stderr.endswith("datatype FP32 is expected, not 'FP64': convert it: array.astype('float32')\n")
    assert request.stderr.endswith("request.json: an Open Inference request: give its data as x=...\n")


def test_a_run_that_has_ended_cannot_be_asked(local: Local) -> None:
    local.write("v1")
    local.start()
    local.end()

    asked = local.tidegate("predict", "fraud", "--input", ONE, "-o", "json")

    assert json.loads(asked.stderr)["error"]["reason"] == "NotRunning"
