"""Blocks of headers: what is remembered is never what it no longer means, and nothing malformed is let through."""

from __future__ import annotations

import contextlib

import pytest
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from hypothesis import given
from hypothesis import strategies as st

from tidegate_runtime.http2.frames import Code, ConnectionFault
from tidegate_runtime.http2.heads import HeadReader, Malformed

REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/a")]


def packed(*fields: tuple[str, str]) -> bytes:
    return Encoder().encode([NeverIndexedHeaderTuple(*field) for field in fields])


def test_a_block_that_changes_nothing_is_read_once() -> None:
    reader, encoder = HeadReader(), Encoder()
    reader.read(encoder.encode([*REQUEST, ("name", "value")]))  # fills the tables
    block = encoder.encode([*REQUEST, ("name", "value")])
    first = reader.read(block)
    assert reader.read(block) is first
    assert (first.method, first.path, first.fields) == ("POST", "/a", {"name": "value"})


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["1", "22", "x" * 300]), st.sampled_from([0, 60, 4096, None])),
        min_size=1, max_size=60,
    )
)  # fmt: skip
def test_what_is_remembered_means_what_a_plain_decoder_says(said: list[tuple[str, str, int | None]]) -> None:
    reader, encoder, plain = HeadReader(), Encoder(), Decoder()
    for name, value, size in said:
        if size is not None:
            encoder.header_table_size = size
        block = encoder.encode([*REQUEST, (name, value)])
        expected = {str(field): str(text) for field, text in plain.decode(block)}
        assert {**reader.read(block).fields} == {name: expected[name]}


@given(st.binary(max_size=80))
def test_no_block_does_worse_than_end_its_stream_or_its_connection(block: bytes) -> None:
    with contextlib.suppress(Malformed, ConnectionFault):
        HeadReader().read(block)


@pytest.mark.parametrize(
    "fields",
    [
        [(":method", "POST"), (":path", "/")],
        [*REQUEST, (":path", "/b")],
        [*REQUEST, (":status", "200")],
        [*REQUEST, ("a", "b"), (":authority", "late")],
        [*REQUEST, ("Upper", "case")],
        [*REQUEST, ("", "no name")],
        [*REQUEST, ("a b", "c")],
        [*REQUEST, ("a", "b\r\nc: d")],
        [*REQUEST, ("a", "b\0")],
        [*REQUEST, ("connection", "close")],
        [*REQUEST, ("transfer-encoding", "chunked")],
        [*REQUEST, ("te", "gzip")],
        [*REQUEST, ("content-length", "-1")],
        [*REQUEST, ("content-length", "1" * 20)],
        [*REQUEST, ("content-length", "1"), ("content-length", "2")],
    ],
)
def test_malformed_headers_are_refused(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(Malformed):
        HeadReader().read(packed(*fields))


def test_after_malformed_headers_the_table_is_as_the_client_thinks() -> None:
    reader, encoder = HeadReader(), Encoder()
    with pytest.raises(Malformed):
        reader.read(encoder.encode([("connection", "close"), ("name", "value")]))
    assert reader.read(encoder.encode([*REQUEST, ("name", "value")])).fields == {"name": "value"}


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (b"\x20" * 3, Code.COMPRESSION_ERROR),
        (b"\x3f\xe2\x1f", Code.COMPRESSION_ERROR),  # a table of 4,097 bytes
        (b"\x80", Code.COMPRESSION_ERROR),
        (b"\xff\xff", Code.COMPRESSION_ERROR),
        (packed(("a", "b" * 65_536)), Code.ENHANCE_YOUR_CALM),
    ],
)
def test_what_nothing_can_be_read_after_ends_the_connection(block: bytes, code: Code) -> None:
    with pytest.raises(ConnectionFault) as fault:
        HeadReader().read(block)
    assert fault.value.code is code
