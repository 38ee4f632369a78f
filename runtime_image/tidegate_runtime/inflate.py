"""Compressed request bodies, unpacked no further than a body may be large: kilobytes can be made to hold gigabytes.

Answers are not compressed: tensors hardly shrink, and a proxy in front does it on somebody else's core.
"""

from __future__ import annotations

import zlib
from typing import Final

from tidegate_runtime.errors import BadRequest, RequestError, TooLarge

WINDOWS: Final = {b"gzip": zlib.MAX_WBITS | 16, b"x-gzip": zlib.MAX_WBITS | 16, b"deflate": zlib.MAX_WBITS}


def encoding_of(header: bytes) -> bytes | None:
    """The encoding that `inflate` takes, None for a plain body; raises RequestError (415) for any other."""
    encoding = header.lower()
    if encoding == b"identity":
        return None
    if encoding not in WINDOWS:
        raise RequestError("this content-encoding is not accepted: send gzip, deflate or plain", 415)
    return encoding


def inflate(body: bytes | bytearray | memoryview, encoding: bytes, limit: int) -> bytes:
    """What `body` holds, at most `limit` bytes; raises BadRequest and TooLarge."""
    stream = zlib.decompressobj(WINDOWS[encoding])
    try:
        content = stream.decompress(body, limit + 1)
    except zlib.error:
        raise BadRequest(f"the body is not valid {encoding.decode()}") from None
    if len(content) > limit:
        raise TooLarge(f"the body is larger than {limit} bytes when it is unpacked")
    if not stream.eof:
        raise BadRequest(f"the body ends before its {encoding.decode()} stream does")
    if stream.unused_data:
        raise BadRequest(f"the body goes on after the end of its {encoding.decode()} stream")
    return content
