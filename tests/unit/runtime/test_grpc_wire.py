"""A message taken apart: its raw values where they lie, all else as it was, and no message of millions of fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_runtime.errors import BadRequest
from tidegate_runtime.grpc_wire import LARGE, MOST_FIELDS, SMALL, take_apart

EMPTY_INPUT = b"\x2a\x00"
FILLING = b"\x32\x80\x80\x40" + bytes(LARGE)  # a field of exactly 1 MiB
NAME = b"\x0a\x05fraud"
RAW = b"\x3a\x80\x80\x01" + bytes(range(256)) * 64  # raw values of 16 KiB
KINDS = [b"\x08\x01", b"\x09" + bytes(8), b"\x0d" + bytes(4), b"\x0b\x0c", EMPTY_INPUT]


def taken(message: bytes) -> tuple[bytes, list[bytes]]:
    rest, raws = take_apart(message)
    return bytes(rest), [bytes(raw) for raw in raws]


def test_raw_values_are_taken_out_wherever_they_stand() -> None:
    values = RAW[4:]
    assert taken(NAME + EMPTY_INPUT + RAW) == (NAME + EMPTY_INPUT, [values])
    assert taken(RAW + NAME + RAW + EMPTY_INPUT + b"\x3a\x00") == (NAME + EMPTY_INPUT, [values, values, b""])


def test_raw_values_are_not_copied() -> None:
    message = bytearray(NAME + RAW)
    _, (values,) = take_apart(memoryview(message))
    message[-1] = 77
    assert values[-1] == 77


@pytest.mark.parametrize("field", [*KINDS, b"\xba\x02\x01a"])
def test_other_fields_are_left_as_they_are(field: bytes) -> None:
    grouped = field == b"\x0b\x0c"
    message = field + RAW + field
    assert taken(message) == ((message, []) if grouped else (field + field, [RAW[4:]]))


def test_a_small_message_is_left_whole() -> None:
    message = NAME + b"\x3a\x04" + b"1234"
    assert len(message) <= SMALL
    assert taken(message) == (message, [])


@pytest.mark.parametrize("cut", [RAW[:-1], RAW + b"\x3a", RAW + b"\x3a\x05abc", RAW + b"\xff" * 11, RAW + b"\x0e"])
def test_what_is_not_understood_is_left_to_protobuf(cut: bytes) -> None:
    assert taken(cut) == (cut, [])


@given(st.binary(max_size=40))
def test_nonsense_never_breaks_it(nonsense: bytes) -> None:
    rest, raws = taken(RAW + nonsense)
    assert len(rest) + sum(map(len, raws)) <= len(RAW + nonsense)


def test_a_message_with_as_many_fields_as_allowed_is_let_through_and_one_more_is_not() -> None:
    assert taken(FILLING + EMPTY_INPUT * (MOST_FIELDS - 1))[1] == []
    with pytest.raises(BadRequest, match="more than 4096 fields"):
        take_apart(FILLING + EMPTY_INPUT * MOST_FIELDS)


def test_fields_inside_of_fields_do_not_count() -> None:
    inside = EMPTY_INPUT * (LARGE // 2)
    assert taken(b"\x2a\x80\x80\x40" + inside + EMPTY_INPUT)[1] == []


def test_a_message_up_to_a_mebibyte_may_have_any_number() -> None:
    message = EMPTY_INPUT * (LARGE // 2)
    assert taken(message) == (message, [])


@pytest.mark.parametrize("field", KINDS)
def test_every_kind_of_field_counts(field: bytes) -> None:
    with pytest.raises(BadRequest):
        take_apart(field * (LARGE // len(field) + 1))
