"""`tidegate predict` as it is typed: what is refused before anything is sent, and what a refusal is told with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.unit.cli.conftest import Tidegate
from tests.unit.client.scripted_server import Answer, Scripted, following, said

NOWHERE = "http://127.0.0.1:1/v2/models/m"
ONE = "x=[[1, 2]]"
METADATA = Answer(
    body=json.dumps(
        {"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}], "outputs": []}
    ).encode()
)


def model(server: Scripted) -> str:
    return f"{server.url}/v2/models/m"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("a: é€", "the value of a is not one line of Latin-1 text"),
        ("a: b\r\nx: y", "the value of a is not one line of Latin-1 text"),
        ("x y: 2", "'x y' cannot be the name of a header: write NAME:VALUE"),
        (": 2", "'' cannot be the name of a header: write NAME:VALUE"),
        ("a secret", "a header is NAME:VALUE"),
        ("content-length: 3", "content-length is written by the client itself: leave it away"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding is written by the client itself: leave it away"),
        ("Host: h", "Host is written by the client itself: leave it away"),
        ("Inference-Header-Content-Length: 3", "Inference-Header-Content-Length is written by the client itself"),
        ("Content-Type: application/json", "Content-Type is written by the client itself: leave it away"),
    ],
)
def test_a_header_that_cannot_be_sent_is_wrong_usage(tidegate: Tidegate, given: str, why: str) -> None:
    code, printed, error = tidegate("predict", NOWHERE, "--input", ONE, "--header", given)

    assert (code, printed) == (2, "")
    assert error.startswith(f"error: --header: {why}")


def test_a_header_of_latin_text_is_sent(tidegate: Tidegate) -> None:
    with following(METADATA, said(500, "enough")) as server:
        tidegate("predict", model(server), "--input", ONE, "--header", "X-Name: Zoé", "--header", "x-empty:")

    assert (server.received[1].headers["x-name"], server.received[1].headers["x-empty"]) == ("Zoé", "")


@pytest.mark.parametrize("command", ["predict", "bench"])
def test_an_address_without_its_scheme_is_no_name_of_a_deployment(tidegate: Tidegate, command: str) -> None:
    code, _, error = tidegate(command, "localhost:8080/v2/models/m")

    assert code == 2
    assert "neither a name nor an address: write http://HOST:PORT/v2/models/NAME" in error


@pytest.mark.parametrize("below", ["/v2/models/m", ""])
def test_credentials_in_an_address_are_refused_and_not_printed(tidegate: Tidegate, below: str) -> None:
    code, _, error = tidegate("predict", f"http://anna:secret@h{below}", "--input", ONE)

    assert code == 2
    assert error == "error: an address holds no credentials: send them with --header 'authorization: ...'\n"


@pytest.mark.parametrize("option", [["--local"], ["--state", "somewhere"]])
def test_an_address_is_no_run_on_this_machine(tidegate: Tidegate, option: list[str]) -> None:
    code, _, error = tidegate("predict", NOWHERE, "--input", ONE, *option)

    assert code == 2
    assert error == "error: an address is no run on this machine: leave --local and --state away\n"


def test_without_an_input_it_says_what_the_model_takes(tidegate: Tidegate) -> None:
    with following(said(400, "input 'x' is missing"), METADATA) as server:
        code, _, error = tidegate("predict", model(server))

    assert code == 2
    assert error == "error: no input: it takes x FP32 [-1, 2]: --input x=...\n"


def test_a_model_that_takes_nothing_needs_no_input(tidegate: Tidegate) -> None:
    nothing = Answer(body=b'{"model_name": "m", "outputs": []}')
    with following(nothing) as server:
        code, printed, error = tidegate("predict", model(server), "--quiet")

    assert (code, printed, error) == (0, "{}\n", "")


def test_an_array_of_another_type_is_refused_with_how_to_convert_it(tidegate: Tidegate, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 2)))
    refusal = "input 'x': datatype FP32 is expected, not 'FP64'"
    with following(said(400, refusal), METADATA) as server:
        code, _, error = tidegate("predict", model(server), "--input", f"x={tmp_path}/x.npy")

    assert code == 1
    assert error == f"error: {model(server)}/infer: {refusal}: convert it: array.astype('float32')\n"


@pytest.mark.parametrize("answers", [[METADATA], [said(404, "no metadata here")]])
def test_another_refusal_stays_the_words_of_the_server(
    tidegate: Tidegate, tmp_path: Path, answers: list[Answer]
) -> None:
    np.save(tmp_path / "x.npy", np.zeros(2, np.float32))
    with following(said(400, "input 'x': shape [2] does not fit"), *answers) as server:
        code, _, error = tidegate("predict", model(server), "--input", f"x={tmp_path}/x.npy")

    assert code == 1
    assert error == f"error: {model(server)}/infer: input 'x': shape [2] does not fit\n"
