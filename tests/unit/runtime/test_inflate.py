"""Compressed bodies: whole ones come out as they went in, and nothing else comes out as more than a sentence."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_runtime.errors import BadRequest, RequestError, TooLarge
from tidegate_runtime.inflate import inflate

LIMIT = 4096
PACK: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"x-gzip": gzip.compress,
    b"deflate": zlib.compress,
}
encodings = st.sampled_from(list(PACK))


@settings(max_examples=200, deadline=None)
@given(encodings, st.binary(max_size=300), st.integers(1, 40))
def test_a_body_is_unpacked_up_to_the_limit(encoding: bytes, part: bytes, times: int) -> None:
    content = part * times
    packed = PACK[encoding](content)
    if len(content) <= LIMIT:
        assert inflate(memoryview(packed), encoding, LIMIT) == content
    else:
        with pytest.raises(TooLarge):
            inflate(packed, encoding, LIMIT)


@settings(max_examples=200, deadline=None)
@given(encodings, st.binary(max_size=300), st.integers(1, 100), st.binary(min_size=1, max_size=9))
def test_a_body_that_is_cut_short_or_goes_on_is_refused(encoding: bytes, content: bytes, cut: int, more: bytes) -> None:
    packed = PACK[encoding](content)
    for broken in (packed[: max(0, len(packed) - cut)], packed + more):
        with pytest.raises(BadRequest):
            inflate(broken, encoding, LIMIT)


@settings(max_examples=300, deadline=None)
@given(encodings, st.binary(max_size=400), st.binary(max_size=100), st.integers(0, 400))
def test_any_bytes_give_at_most_the_limit_or_a_sentence(encoding: bytes, content: bytes, junk: bytes, at: int) -> None:
    packed = bytearray(PACK[encoding](content))
    packed[at : at + len(junk)] = junk
    try:
        assert len(inflate(packed, encoding, LIMIT)) <= LIMIT
    except RequestError as error:
        assert error.status in (400, 413)
        assert error.message
