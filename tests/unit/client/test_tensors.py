"""Arrays to the protocol's bytes and back, every type of it."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from tidegate.bundle.element_types import ELEMENT_TYPES
from tidegate.client.tensors import datatype_of, from_bytes, from_values, to_bytes

NUMBERS = [row for row in ELEMENT_TYPES.values() if row.name not in ("BYTES", "BF16")]


@pytest.mark.parametrize("row", NUMBERS, ids=lambda row: row.name)
def test_every_bit_of_every_number_survives(row: Any) -> None:
    bits = np.arange(256).astype(np.uint8) & (1 if row.name == "BOOL" else 255)
    array = bits.view(row.numpy).reshape(2, -1)

    datatype = datatype_of(array)
    back = from_bytes(memoryview(to_bytes(array, datatype)), datatype, array.shape)

    assert datatype == row.name
    assert back.tobytes() == array.tobytes()
    assert back.shape == array.shape


def test_arrays_of_any_layout_and_byte_order_are_sent_in_order_and_little_endian() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)

    assert to_bytes(array.T, "FP32") == np.array([0, 3, 1, 4, 2, 5], "<f4").tobytes()
    assert datatype_of(array.astype(">f4")) == "FP32"
    assert to_bytes(array.astype(">f4"), "FP32") == array.tobytes()


@pytest.mark.parametrize(
    "texts", [np.array(["a", "ä€", ""]), np.array(["a", "ä€", ""], object), np.array([b"a", "ä€".encode(), b""])]
)
def test_texts_travel_behind_their_length(texts: Any) -> None:
    raw = to_bytes(texts, datatype_of(texts))

    assert raw == struct.pack("<I", 1) + b"a" + struct.pack("<I", 5) + "ä€".encode() + struct.pack("<I", 0)
    assert from_bytes(memoryview(raw), "BYTES", [3, 1]).tolist() == [["a"], ["ä€"], [""]]


def test_bfloat16_is_sent_from_its_two_bytes_and_comes_back_as_its_bits() -> None:
    one = np.array([b"\x80\x3f"], "V2")

    assert datatype_of(one) == "BF16"
    assert from_bytes(memoryview(to_bytes(one, "BF16")), "BF16", [1]).tolist() == [0x3F80]


@pytest.mark.parametrize(
    ("raw", "datatype", "shape"),
    [(b"123", "FP32", [1]), (b"12345678", "FP32", [1]), (b"1", "BYTES", [1]), (b"\2\0\0\0a", "BYTES", [1]),
     (b"\1\0\0\0\xff", "BYTES", [1]), (b"", "BYTES", [1])],
)  # fmt: skip
def test_bytes_that_are_not_the_tensor_are_an_error(raw: bytes, datatype: str, shape: list[int]) -> None:
    with pytest.raises(ValueError, match=r"buffer|reshape|text|utf-8"):
        from_bytes(memoryview(raw), datatype, shape)


@pytest.mark.parametrize(
    ("values", "datatype"),
    [([[1, 2], [3, 4.5]], "FP32"), (5, "INT64"), ([2**64 - 1, 1], "UINT64"), ([], "FP64"), ([[], []], "INT8"),
     ([True], "BOOL"), ([["a"], ["b"]], "BYTES"), ([[[0.5]]], "FP16")],
)  # fmt: skip
def test_json_keeps_its_shape_and_every_bit(values: Any, datatype: str) -> None:
    array = from_values(values, datatype)

    assert array.tolist() == values
    assert array.dtype == ELEMENT_TYPES[datatype].numpy


@pytest.mark.parametrize(
    ("values", "datatype", "why"),
    [
        ([[1], [2, 3]], "FP32", "lists of different lengths"),
        ([1e300], "FP32", "out of the range of FP32"),
        ([256], "UINT8", "out of the range of UINT8"),
        ([1.5], "INT64", "float where INT64"),
        ([True], "INT64", "bool where INT64"),
        ([1], "BOOL", "int where BOOL"),
        ([None], "FP32", "NoneType"),
        ([1], "BYTES", "int where BYTES"),
        ({"a": 1}, "FP32", "dict"),
        ([1], "BF16", "cannot be written as JSON"),
    ],
)
def test_nothing_is_converted_silently(values: Any, datatype: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        from_values(values, datatype)
