"""Blocks of headers: unpacked, checked, and remembered.

A client sends the same block with every call of a method, a byte for each header that both sides have in their dynamic
tables.  As long as the table does not change the same bytes mean the same, so a block costs one look into a dictionary
instead of the 10 to 14 µs of `hpack`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError

from tidegate_runtime.http2.frames import Code, ConnectionFault

LARGEST_BLOCK: Final = 64 * 1024  # bytes as they come
LARGEST_LIST: Final = 64 * 1024  # bytes unpacked, 32 more for each header, as SETTINGS_MAX_HEADER_LIST_SIZE counts
MOST_REMEMBERED: Final = 64
LARGEST_REMEMBERED: Final = 512
NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
NOT_IN_VALUES: Final = re.compile(rb"[\0\r\n]")
OF_A_REQUEST: Final = frozenset({b":method", b":scheme", b":path", b":authority"})
REQUIRED: Final = (b":method", b":scheme", b":path")
OF_ONE_CONNECTION: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
MOST_DIGITS: Final = 15
RESIZE, LARGE_NUMBER, MORE = 0x20, 0x1F, 0x80
MOST_RESIZES: Final = 2  # section 4.2 of RFC 7541


class Malformed(Exception):
    """The headers are no request's; the table is as it should be, so only their stream ends."""


@dataclass(slots=True)
class Head:
    """The headers of a request, or its trailers, which have no method; names in lower case, the last of a name counts.

    `meaning` is for whoever answers requests: what it has read from this head stays as long as the head.
    """

    method: str
    path: str
    length: int | None  # of the body, where the client tells it
    fields: Mapping[str, str]
    meaning: Any = field(default=None, compare=False)


class HeadReader:
    """The blocks of one connection, in the order in which they come: each may change what the next ones mean."""

    __slots__ = ("_decoder", "_remembered")

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=LARGEST_LIST)
        self._remembered: dict[bytes, Head] = {}

    def read(self, block: bytes) -> Head:
        """The head in a whole block; raises Malformed, and ConnectionFault when nothing after it can be read."""
        known = self._remembered.get(block)
        if known is not None:
            return known
        _require_few_resizes(block)
        table = self._decoder.header_table
        headers: Iterable[Any]
        newest, size = next(iter(table.dynamic_entries), None), table.maxsize
        try:
            headers = self._decoder.decode(block, raw=True)
        except OversizedHeaderListError:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, f"more than {LARGEST_LIST} bytes of headers") from None
        except HPACKError:
            raise ConnectionFault(Code.COMPRESSION_ERROR, "a block of headers cannot be unpacked") from None
        if next(iter(table.dynamic_entries), None) is not newest or table.maxsize != size:
            self._remembered.clear()
            return _head(headers)
        head = _head(headers)
        if len(block) <= LARGEST_REMEMBERED:
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[block] = head
        return head


def _require_few_resizes(block: bytes) -> None:
    """A block may begin with two changes of the table's size; 64 KiB of them would keep `hpack` busy for 0.1 s."""
    at = count = 0
    while block[at : at + 1] and block[at] & 0xE0 == RESIZE:
        count += 1
        if count > MOST_RESIZES:
            raise ConnectionFault(Code.COMPRESSION_ERROR, "the table's size changes too often")
        more = block[at] & LARGE_NUMBER == LARGE_NUMBER  # it goes on in the bytes that follow, seven bits each
        at += 1
        while more and block[at : at + 1]:
            more = block[at] & MORE != 0
            at += 1


def _head(headers: Iterable[tuple[bytes, bytes]]) -> Head:
    """Section 8.3 of RFC 9113."""
    pseudo: dict[bytes, bytes] = {}
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        if name[:1] != b":":
            _require_plain(name, value)
            if name == b"content-length" and fields.get(name, value) != value:
                raise Malformed
            fields[name] = value
        elif fields or name in pseudo or name not in OF_A_REQUEST:
            raise Malformed
        else:
            pseudo[name] = value
    if pseudo and not all(pseudo.get(name) for name in REQUIRED):
        raise Malformed
    return Head(
        method=pseudo.get(b":method", b"").decode("latin-1"),
        path=pseudo.get(b":path", b"").decode("latin-1"),
        length=_length(fields.get(b"content-length")),
        fields={name.decode("latin-1"): value.decode("latin-1") for name, value in fields.items()},
    )


def _require_plain(name: bytes, value: bytes) -> None:
    if NAME.fullmatch(name) is None or NOT_IN_VALUES.search(value) or name in OF_ONE_CONNECTION:
        raise Malformed
    if name == b"te" and value != b"trailers":
        raise Malformed


def _length(text: bytes | None) -> int | None:
    if text is None:
        return None
    if not text.isdigit() or len(text) > MOST_DIGITS:
        raise Malformed
    return int(text)
