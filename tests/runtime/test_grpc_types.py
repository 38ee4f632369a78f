"""Every element type over gRPC, raw and typed: the bits that come back are those sent, and what is wrong is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Running
from tests.runtime.grpc_client import Client, raw, refused, typed

from tidegate.bundle.element_types import ELEMENT_TYPES

TEXTS = [text.encode() for text in ("", "naïve ☃ \U0001f600", "a\0b", 'quote " and \\ back')]
VALUES: dict[str, tuple[str, list[Any]]] = {
    "BOOL": ("bool_contents", [True, False, False, True]),
    **{
        name: (field, [np.iinfo(ELEMENT_TYPES[name].numpy).min, np.iinfo(ELEMENT_TYPES[name].numpy).max, 0, 1])
        for field, names in {
            "int_contents": ("INT8", "INT16", "INT32"),
            "int64_contents": ("INT64",),
            "uint_contents": ("UINT8", "UINT16", "UINT32"),
            "uint64_contents": ("UINT64",),
        }.items()
        for name in names
    },
    "FP32": ("fp32_contents", [-0.0, 3.4028234663852886e38, 1.401298464324817e-45, 0.10000000149011612]),
    "FP64": ("fp64_contents", [-0.0, 1.7976931348623157e308, 5e-324, 0.1]),
    "BYTES": ("bytes_contents", TEXTS),
}
HALVES = {"FP16": [0x3C00, 0x8000, 0x7C00, 0x0001], "BF16": [0x3F80, 0x8000, 0x7F80, 0x0001]}


@pytest.fixture(scope="module")
def echo(
    bundles: Callable[..., Path], serve: Callable[..., Running], grpc_on: tuple[str, ...]
) -> Iterator[Callable[[str], Client]]:
    """A client of a server that gives one tensor of a type back, started once per type."""
    known: dict[str, Client] = {}

    def of(name: str) -> Client:
        if name not in known:
            server = serve(bundles(small.cast(ELEMENT_TYPES[name].onnx)), "--golden", "Skip", *grpc_on)
            known[name] = Client(server.grpc)
        return known[name]

    yield of
    for client in known.values():
        client.channel.close()


def raw_bytes(name: str) -> bytes:
    if name in HALVES:
        return struct.pack("<4H", *HALVES[name])
    if name == "BYTES":
        return b"".join(struct.pack("<I", len(text)) + text for text in TEXTS)
    return np.array(VALUES[name][1], ELEMENT_TYPES[name].numpy).tobytes()


@pytest.mark.parametrize("name", list(ELEMENT_TYPES))
def test_raw_values_come_back_bit_by_bit(echo: Callable[[str], Client], name: str) -> None:
    answer = echo(name).infer(raw("x", name, [2, 2], raw_bytes(name)))
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == (name, [2, 2])
    assert list(answer.raw_output_contents) == [raw_bytes(name)]


@pytest.mark.parametrize("name", list(VALUES))
def test_typed_values_come_back_bit_by_bit(echo: Callable[[str], Client], name: str) -> None:
    field, values = VALUES[name]
    answer = echo(name).infer(typed("x", name, [2, 2], **{field: values}))
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == (name, [2, 2])
    assert repr(list(getattr(answer.outputs[0].contents, field))) == repr(values)  # -0.0 == 0.0


@pytest.mark.parametrize("name", list(HALVES))
def test_half_precision_travels_raw_only(echo: Callable[[str], Client], name: str) -> None:
    answer = refused(lambda: echo(name).infer(typed("x", name, [2, 2], fp32_contents=[1, 2, 3, 4])))
    assert answer.sentence == f"input 'x': {name} has no typed contents: use raw_input_contents"


@pytest.mark.parametrize(("name", "field"), [("FP32", "fp32_contents"), ("FP64", "fp64_contents")])
def test_numbers_that_are_not_finite_pass_in_both_forms(echo: Callable[[str], Client], name: str, field: str) -> None:
    values = [np.nan, np.inf, -np.inf, -0.0]
    answer = echo(name).infer(typed("x", name, [2, 2], **{field: values}))
    assert repr(list(getattr(answer.outputs[0].contents, field))) == repr(values)
    content = np.array(values, ELEMENT_TYPES[name].numpy).tobytes()
    assert list(echo(name).infer(raw("x", name, [2, 2], content)).raw_output_contents) == [content]


@pytest.mark.parametrize("name", ["INT8", "INT16", "UINT8", "UINT16"])
def test_an_integer_out_of_range_is_refused_never_wrapped(echo: Callable[[str], Client], name: str) -> None:
    field, (low, high, *_) = VALUES[name]
    for wrong in {low - 1, high + 1} - {-1}:
        answer = refused(lambda wrong=wrong: echo(name).infer(typed("x", name, [2, 2], **{field: [wrong, 0, 0, 0]})))  # type: ignore[misc]
        assert answer.sentence == f"input 'x': holds a number out of the range of {name}"


def test_texts_that_are_not_utf8_are_refused_with_their_place(echo: Callable[[str], Client]) -> None:
    for asked in (
        typed("x", "BYTES", [2, 2], bytes_contents=[b"a", b"b", b"\xff", b"c"]),
        raw("x", "BYTES", [2, 2], b"".join(struct.pack("<I", 1) + text for text in (b"a", b"b", b"\xff", b"c"))),
    ):
        answer = refused(lambda asked=asked: echo("BYTES").infer(asked))  # type: ignore[misc]
        assert (answer.code, answer.sentence) == ("INVALID_ARGUMENT", "input 'x': element 2 is not UTF-8")


def test_a_byte_that_is_neither_true_nor_false_is_refused(echo: Callable[[str], Client]) -> None:
    answer = refused(lambda: echo("BOOL").infer(raw("x", "BOOL", [2, 2], b"\0\1\2\0")))
    assert answer.sentence == "input 'x': holds a byte other than 0 and 1 where BOOL values are expected"


@pytest.mark.parametrize("name", list(VALUES))
def test_empty_tensors_go_through_in_both_forms(echo: Callable[[str], Client], name: str) -> None:
    for asked in (typed("x", name, [0, 2]), raw("x", name, [0, 2], b"")):
        answer = echo(name).infer(asked)
        assert list(answer.outputs[0].shape) == [0, 2]
