"""Tensors as they are written on a command line."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tidegate.cli import inputs
from tidegate.cli.inputs import read_inputs
from tidegate.client import TensorMetadata
from tidegate.errors import Invalid, UsageError

KNOWN = {
    "x": TensorMetadata("x", "FP32", (-1, 2)),
    "text": TensorMetadata("text", "BYTES", (-1,)),
    "flag": TensorMetadata("flag", "BOOL", ()),
}


def known() -> Mapping[str, TensorMetadata]:
    return KNOWN


def nobody() -> Mapping[str, TensorMetadata]:
    raise AssertionError("arrays have a type of their own: the model is not asked")


def test_json_takes_the_type_that_the_model_has() -> None:
    found = read_inputs(["x=[[1, 2]]", 'text=["a=b"]', "flag=true"], known)

    assert found["x"].dtype == np.float32
    assert found["x"].tolist() == [[1, 2]]
    assert found["text"].tolist() == ["a=b"]
    assert (found["flag"].shape, found["flag"].item()) == ((), True)


@pytest.mark.parametrize("text", ['{"x": [[1, 2]], "text": ["a=b"]}', ' {"x": [[1, 2]], "text": ["a=b"]}'])
def test_an_object_holds_inputs_by_name(text: str) -> None:
    assert {name: array.tolist() for name, array in read_inputs([text], known).items()} == json.loads(text)


def test_arrays_keep_their_type_and_need_no_model(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 2)))
    np.savez(tmp_path / "all.npz", text=np.array(["a"]), y=np.zeros(3, np.int8))

    found = read_inputs([f"x={tmp_path}/x.npy", f"{tmp_path}/all.npz"], nobody)

    assert {name: array.dtype.kind + str(array.shape) for name, array in found.items()} == {
        "x": "f(1, 2)",
        "text": "U(1,)",
        "y": "i(3,)",
    }


def test_files_of_json_and_standard_input_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.json").write_text("[[1, 2]]")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'["a"]'), "utf-8"))

    found = read_inputs([f"x={tmp_path}/x.json", "text=-"], known)

    assert found["x"].tolist() == [[1, 2]]
    assert found["text"].tolist() == ["a"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x=hello", "texts need quotes"),
        ("hello", "texts need quotes"),
        ("[1, 2]", "inputs without a name"),
        ("z=[1]", "the model has no input 'z': it has x text flag"),
        ("x=[[1], [2, 3]]", "input 'x': holds lists of different lengths"),
        ("text=[1]", "input 'text': holds int where BYTES"),
        ("x=" + "[" * 100_000, "neither JSON"),
        ("x=", "input 'x': is empty"),
        ("", "the inputs: is empty"),
        ('{"inputs": [{"name": "x", "data": [1]}]}', "an Open Inference request: give its data as x=..."),
        ('x={"x": [[1, 2]]}', "inputs with names of their own: leave NAME= away"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_write(text: str, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        read_inputs([text], known)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x.npy", "x.npy: one array: write NAME=x.npy"),
        ("x=x.npz", "x.npz: inputs with names of their own: leave NAME= away"),
        ("x=all.json", "all.json: inputs with names of their own: leave NAME= away"),
        ("request.json", "request.json: an Open Inference request: give its data as x=..."),
        ("x=request.json", "request.json: an Open Inference request: give its data as x=..."),
        ("x=empty.json", "empty.json: is empty"),
        ("x=empty.npy", "empty.npy: is empty"),
        ("x=words.json", "words.json: is not JSON"),
        ("x=latin.json", "latin.json: cannot be read"),
        ("x=folder", "folder: neither JSON nor a file .json, .npy or .npz: name a file of these kinds"),
        ("folder", "folder: neither JSON nor a file .json, .npy or .npz: name a file of these kinds"),
    ],
)
def test_a_file_that_is_something_else_is_told_by_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((1, 2)))
    np.savez("x.npz", x=np.zeros((1, 2)))
    Path("all.json").write_text('{"x": [[1, 2]]}')
    Path("request.json").write_text('{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}')
    Path("empty.json").touch()
    Path("empty.npy").touch()
    Path("words.json").write_text("hello")
    Path("latin.json").write_bytes(b'"\xe9"')
    Path("folder").mkdir()

    with pytest.raises(Invalid, match=re.escape(why)):
        read_inputs([text], known)


@pytest.mark.parametrize("text", ["none.npz", "none.npy", "none.json", "x=none.npz", "x=none.npy", "x=none.json"])
def test_a_file_that_is_not_there_is_told_by_the_machine(text: str) -> None:
    with pytest.raises(FileNotFoundError):
        read_inputs([text], nobody)


@pytest.mark.parametrize(("given", "why"), [(b"", "is empty"), (b"hello", "is not JSON"), (b"\xff", "cannot be read")])
def test_standard_input_without_sense_is_told_as_such(monkeypatch: pytest.MonkeyPatch, given: bytes, why: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given), "utf-8"))

    with pytest.raises(Invalid, match=f"standard input: {why}"):
        read_inputs(["x=-"], known)


def test_json_is_json_though_a_file_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("[[1, 2]]").touch()

    assert read_inputs(["x=[[1, 2]]"], known)["x"].tolist() == [[1, 2]]


@pytest.mark.parametrize("again", ["x=[[3, 4]]", '{"text": ["a"], "x": [[3, 4]]}'])
def test_an_input_that_is_given_twice_is_wrong_usage(again: str) -> None:
    with pytest.raises(UsageError, match="the input 'x' is given twice"):
        read_inputs(["x=[[1, 2]]", again], known)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], object), allow_pickle=True)

    with pytest.raises(Invalid, match="cannot be read"):
        read_inputs([f"x={tmp_path}/x.npy"], nobody)


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "MOST_ARRAYS", 10_000)
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros(10_000, np.float32))

    with pytest.raises(Invalid, match=r"x\.npz: cannot be read: it unpacks to 40,128 bytes, allowed are 10,000"):
        read_inputs([f"{tmp_path}/x.npz"], nobody)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 and no more")

    with pytest.raises(Invalid, match="cannot be read"):
        read_inputs([f"{tmp_path}/x.npz"], nobody)
