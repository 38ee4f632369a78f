"""Every element type through the real server, over JSON and over binary tensors: the bits that come back are those sent."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Running

from tidegate.bundle.element_types import ELEMENT_TYPES

INTEGERS = {
    name: [np.iinfo(row.numpy).min, np.iinfo(row.numpy).max, 0, 1]
    for name, row in ELEMENT_TYPES.items()
    if name.startswith(("INT", "UINT"))
}
FLOATS = {
    "FP32": [-0.0, 3.4028234663852886e38, 1.401298464324817e-45, 0.10000000149011612],
    "FP64": [-0.0, 1.7976931348623157e308, 5e-324, 0.1],
}
TEXTS = ["", "naïve ☃ \U0001f600", "a\0b", 'quote " and \\ back']
OVER_JSON: dict[str, list[Any]] = {**INTEGERS, **FLOATS, "BOOL": [True, False, False, True], "BYTES": TEXTS}
NAMES = list(ELEMENT_TYPES)


@pytest.fixture(scope="module")
def echo(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Callable[[str], Running]:
    """A server that gives one tensor of a type back, started once per type."""
    known: dict[str, Running] = {}

    def of(name: str) -> Running:
        if name not in known:
            known[name] = serve(bundles(small.cast(ELEMENT_TYPES[name].onnx)), "--golden", "Skip")
        return known[name]

    return of


def raw(name: str, values: list[Any]) -> bytes:
    if name == "BYTES":
        return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in values)
    if name in ("FP16", "BF16"):
        return struct.pack("<4H", *values)
    return np.array(values, ELEMENT_TYPES[name].numpy).tobytes()


def as_json(name: str, values: Any, filler: int = 0) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [2, 2], "datatype": name, "data": values}
    return {"inputs": [tensor], "parameters": {"filler": "x" * filler}}


def as_binary(name: str, content: bytes, shift: int = 0) -> tuple[bytes, dict[str, str]]:
    """`shift` moves the tensor to an odd place in the body."""
    parameters = {"binary_data_size": len(content)}
    tensor = {"name": "x", "shape": [2, 2], "datatype": name, "parameters": parameters}
    document = {"inputs": [tensor], "parameters": {"binary_data_output": True, "filler": "x" * shift}}
    text = json.dumps(document).encode()
    return text + content, {"inference-header-content-length": str(len(text))}


def bits(name: str, values: Any) -> Any:
    if name in FLOATS:
        return np.array(values, ELEMENT_TYPES[name].numpy).tobytes()
    return values


@pytest.mark.parametrize("filler", [0, 4096], ids=["small", "large"])
@pytest.mark.parametrize("name", list(OVER_JSON))
def test_values_come_back_over_json_to_the_last_bit(echo: Callable[[str], Running], name: str, filler: int) -> None:
    values = OVER_JSON[name]
    for sent in (values, [values[:2], values[2:]]):
        output = echo(name).infer(as_json(name, sent, filler)).json["outputs"][0]
        assert output["datatype"] == name
        assert output["shape"] == [2, 2]
        assert bits(name, output["data"]) == bits(name, values)


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_bytes_come_back_as_binary_to_the_last_bit(echo: Callable[[str], Running], name: str, shift: int) -> None:
    content = raw(name, OVER_JSON.get(name, [0x7E01, 0x8000, 0x0001, 0x7C00]))
    body, headers = as_binary(name, content, shift)
    answer = echo(name).infer(body, headers=headers)
    assert answer.status == 200, answer.body
    length = int(answer.headers["inference-header-content-length"])
    assert answer.body[length:] == content


@pytest.mark.parametrize("name", ["FP16", "BF16"])
def test_half_floats_are_refused_over_json_both_ways(echo: Callable[[str], Running], name: str) -> None:
    answer = echo(name).infer(as_json(name, [1.0, 2.0, 3.0, 4.0]))
    assert answer.status == 400
    assert answer.error == f"input 'x': {name} cannot be sent as JSON: use the binary tensor extension"
    body, headers = as_binary(name, raw(name, [1, 2, 3, 4]))
    asked = body.replace(b'"binary_data_output": true', b'"binary_data_output":false')
    answer = echo(name).infer(asked, headers=headers)
    assert answer.status == 400
    assert answer.error == f"output 'y' is {name}: ask for it as binary data"


@pytest.mark.parametrize("filler", [0, 4096], ids=["small", "large"])
@pytest.mark.parametrize("name", list(INTEGERS))
def test_an_integer_out_of_range_is_refused_never_wrapped(
    echo: Callable[[str], Running], name: str, filler: int
) -> None:
    low, high = INTEGERS[name][:2]
    for wrong in (low - 1, high + 1, 1.5, True, "1"):
        answer = echo(name).infer(as_json(name, [wrong, 0, 0, 0], filler))
        assert answer.status == 400, wrong


@pytest.mark.parametrize("filler", [0, 4096], ids=["small", "large"])
@pytest.mark.parametrize("values", [[1, 0, 1, 0], ["true", True, True, True], [None, True, True, True]])
def test_a_boolean_is_only_true_or_false(echo: Callable[[str], Running], values: list[Any], filler: int) -> None:
    answer = echo("BOOL").infer(as_json("BOOL", values, filler))
    assert answer.status == 400
    assert "where BOOL values are expected" in answer.error


def test_a_byte_that_is_neither_true_nor_false_is_refused(echo: Callable[[str], Running]) -> None:
    body, headers = as_binary("BOOL", b"\0\1\2\0")
    assert "a byte other than 0 and 1" in echo("BOOL").infer(body, headers=headers).error


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (raw("BYTES", ["a"] * 4).replace(b"a", b"\xff", 1), "input 'x': element 0 is not UTF-8"),
        (raw("BYTES", ["a"] * 3) + struct.pack("<I", 1) + b"\xe2", "input 'x': element 3 is not UTF-8"),
        (raw("BYTES", ["a"] * 3), "input 'x': ends before element 3 of 4"),
        (raw("BYTES", ["a"] * 3) + struct.pack("<I", 2**32 - 1), "input 'x': element 3 is said to be longer"),
        (raw("BYTES", ["a"] * 4) + b"xyz", "input 'x': has 3 bytes more than its 4 elements need"),
    ],
)
def test_broken_texts_are_refused_with_their_place(
    echo: Callable[[str], Running], content: bytes, sentence: str
) -> None:
    body, headers = as_binary("BYTES", content)
    answer = echo("BYTES").infer(body, headers=headers)
    assert answer.status == 400
    assert sentence in answer.error


def test_numbers_that_are_not_finite_pass_in_binary_and_are_told_over_json(echo: Callable[[str], Running]) -> None:
    values: NDArray[np.float32] = np.array([np.nan, np.inf, -np.inf, 1.5], np.float32)
    body, headers = as_binary("FP32", values.tobytes())
    answer = echo("FP32").infer(body, headers=headers)
    assert answer.body.endswith(values.tobytes())

    over_json = body.replace(b'"binary_data_output": true', b'"binary_data_output":false')
    refused = echo("FP32").infer(over_json, headers=headers)
    assert refused.status == 500
    assert refused.error.startswith("NonFiniteOutput: output 'y' holds NaN or infinity")

    document = over_json.replace(b'"filler": ""', b'"nonfinite":"null"')
    length = int(headers["inference-header-content-length"]) + len(document) - len(over_json)
    accepted = echo("FP32").infer(document, headers={"inference-header-content-length": str(length)})
    assert accepted.json["outputs"][0]["data"] == [None, None, None, 1.5]


def test_an_empty_tensor_goes_through(echo: Callable[[str], Running]) -> None:
    answer = echo("FP32").infer({"inputs": [{"name": "x", "shape": [0, 2], "datatype": "FP32", "data": []}]})
    assert answer.json["outputs"][0] == {"name": "y", "datatype": "FP32", "shape": [0, 2], "data": []}
