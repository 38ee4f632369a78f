"""Counting the fields of a message: exactly those at its top level, whatever is inside or broken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_runtime.grpc_wire import LARGE, MOST_FIELDS, has_too_many_fields

EMPTY_INPUT = b"\x2a\x00"
FILLING = b"\x3a\x80\x80\x40" + bytes(LARGE)  # a field of exactly 1 MiB


def test_a_message_with_as_many_fields_as_allowed_is_let_through_and_one_more_is_not() -> None:
    assert not has_too_many_fields(FILLING + EMPTY_INPUT * (MOST_FIELDS - 1))
    assert has_too_many_fields(FILLING + EMPTY_INPUT * MOST_FIELDS)


def test_fields_inside_of_fields_do_not_count() -> None:
    inside = EMPTY_INPUT * (LARGE // 2)
    assert not has_too_many_fields(b"\x2a\x80\x80\x40" + inside + EMPTY_INPUT)


def test_a_small_message_is_not_looked_at() -> None:
    assert not has_too_many_fields(EMPTY_INPUT * (LARGE // 2))


@pytest.mark.parametrize("field", [b"\x08\x01", b"\x09" + bytes(8), b"\x0d" + bytes(4), b"\x0b\x0c", EMPTY_INPUT])
def test_every_kind_of_field_counts(field: bytes) -> None:
    assert has_too_many_fields(field * (LARGE // len(field) + 1))


@given(st.binary(max_size=40))
def test_nonsense_is_left_to_protobuf(nonsense: bytes) -> None:
    assert not has_too_many_fields(FILLING + nonsense)
