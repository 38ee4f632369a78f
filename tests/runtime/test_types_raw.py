"""All element types side by side in one request, in JSON and in binary: the bits are those of a plain session."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Running

from tidegate.bundle.element_types import ELEMENT_TYPES

ROWS = 64
BINARY_ONLY = ("FP16", "BF16")
OVER_JSON = [name for name in ELEMENT_TYPES if name not in BINARY_ONLY]
MODELS = (tuple(name for name in ELEMENT_TYPES if name != "BF16"), ("BF16",))  # texts cannot be fed beside BF16
FLOATS_OVER_JSON = ("FP32", "FP64")
Names = tuple[str, ...]
Tensors = dict[str, NDArray[Any]]
Pair = tuple[dict[str, Any], Tensors]  # what the server answered, and what a plain session gives


def backwards(names: Sequence[str]) -> Any:
    """An input x_TYPE per element type, and its rows in the opposite order as y_TYPE."""
    ends = {"first": [-1], "last": [-(2**31)], "axis": [0], "step": [-1]}
    nodes = [helper.make_node("Slice", [f"x_{name}", *ends], [f"y_{name}"]) for name in names]
    inputs = [small.value(f"x_{name}", ELEMENT_TYPES[name].onnx, ["N", 3]) for name in names]
    outputs = [small.value(f"y_{name}", ELEMENT_TYPES[name].onnx, ["N", 3]) for name in names]
    return small.model(nodes, inputs, outputs, {name: np.array(at) for name, at in ends.items()})


@pytest.fixture(scope="module")
def servers(bundles: Callable[..., Path], serve: Callable[..., Running]) -> dict[Names, Running]:
    return {names: serve(bundles(backwards(names))) for names in MODELS}


def any_bits(name: str) -> NDArray[Any]:
    """Random bits of a type, so floats of every kind: tiny, huge, infinite, NaN with a payload."""
    random = np.random.default_rng(7)
    if name == "BYTES":
        texts = np.empty(ROWS * 3, object)
        texts[:] = ["".join(map(chr, random.integers(0, 0xD7FF, size))) for size in random.integers(0, 9, ROWS * 3)]
        return texts.reshape(ROWS, 3)
    if name == "BOOL":
        return random.integers(0, 2, (ROWS, 3)).astype(np.bool_)
    row = ELEMENT_TYPES[name]
    return np.frombuffer(random.bytes(ROWS * 3 * row.bytes), row.numpy).reshape(ROWS, 3)


def finite(name: str) -> NDArray[Any]:
    """The same with 0 for what JSON cannot say."""
    array = any_bits(name)
    return np.where(np.isfinite(array), array, array.dtype.type(0)) if name in FLOATS_OVER_JSON else array


def of_a_plain_session(tensors: Tensors) -> Tensors:
    """What ONNX Runtime itself makes of them."""
    if tuple(tensors) == ("BF16",):
        return {"BF16": tensors["BF16"][::-1]}  # numpy has no such type to run it with: these must be its bits
    session = onnxruntime.InferenceSession(backwards(tuple(tensors)).SerializeToString())
    found = session.run([f"y_{name}" for name in tensors], {f"x_{name}": array for name, array in tensors.items()})
    return dict(zip(tensors, found, strict=True))


def raw(array: NDArray[Any]) -> bytes:
    """The tensor as the binary extension carries it."""
    if array.dtype != object:
        return np.ascontiguousarray(array).tobytes()
    texts = [text.encode() for text in array.ravel()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def answered(server: Running, tensors: Tensors, *, in_json: Sequence[str]) -> dict[str, Any]:
    """Ask with these types in JSON and the others binary, and be answered so: lists, and bytes."""
    inputs, outputs, parts = [], [], []
    for name, array in tensors.items():
        head = {"name": f"x_{name}", "shape": list(array.shape), "datatype": name}
        if name in in_json:
            inputs.append({**head, "data": array.tolist()})
        else:
            parts.append(raw(array))
            inputs.append({**head, "parameters": {"binary_data_size": len(parts[-1])}})
        outputs.append({"name": f"y_{name}", "parameters": {"binary_data": name not in in_json}})
    text = json.dumps({"inputs": inputs, "outputs": outputs}).encode()
    answer = server.infer(b"".join([text, *parts]), headers={"inference-header-content-length": str(len(text))})
    assert answer.status == 200, answer.body[:500]
    length = int(answer.headers["inference-header-content-length"])
    rest, found = answer.body[length:], {}
    for output in json.loads(answer.body[:length])["outputs"]:
        name = output["datatype"]
        assert output["shape"] == [ROWS, 3]
        if name in in_json:
            found[name] = output["data"]
        else:
            size = output["parameters"]["binary_data_size"]
            found[name], rest = rest[:size], rest[size:]
    assert rest == b""
    return found


def both_ways(servers: dict[Names, Running], values: Callable[[str], NDArray[Any]], in_json: Sequence[str]) -> Pair:
    found: dict[str, Any] = {}
    plain: Tensors = {}
    for names, server in servers.items():
        tensors = {name: values(name) for name in names}
        found |= answered(server, tensors, in_json=in_json)
        plain |= of_a_plain_session(tensors)
    return found, plain


@pytest.fixture(scope="module")
def binary(servers: dict[Names, Running]) -> Pair:
    return both_ways(servers, any_bits, in_json=())


@pytest.fixture(scope="module")
def over_json(servers: dict[Names, Running]) -> Pair:
    return both_ways(servers, finite, in_json=OVER_JSON)


@pytest.mark.parametrize("name", list(ELEMENT_TYPES))
def test_binary_tensors_have_the_bits_of_a_plain_session(binary: Pair, name: str) -> None:
    found, plain = binary
    assert found[name] == raw(plain[name])


@pytest.mark.parametrize("name", OVER_JSON)
def test_tensors_in_json_have_the_bits_of_a_plain_session(over_json: Pair, name: str) -> None:
    found, plain = over_json
    assert raw(np.array(found[name], ELEMENT_TYPES[name].numpy)) == raw(plain[name])
