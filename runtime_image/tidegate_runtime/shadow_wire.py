"""How a shadowed request travels from the stable server to the candidate: the request as it came, and its answer.

4 bytes little-endian length | JSON {"request", "header", "outputs": [{"name", "dtype", "shape", "bytes"}]}
| the request's body | each output's bytes, texts as a JSON list
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from tidegate_runtime.interfaces import Array

LENGTH: Final = struct.Struct("<I")
TEXT: Final = "text"
MAX_OUTPUTS: Final = 256


class Malformed(Exception):
    """The bytes are no shadowed request; the text is a sentence."""


@dataclass(frozen=True, slots=True)
class Shadowed:
    """A request as the stable server got it, and the answer it gave; `header_length` as in `Shadow.offer`."""

    body: bytes
    header_length: int | None
    outputs: Mapping[str, Array]


def pack(shadowed: Shadowed) -> bytes:
    """The bytes to send."""
    rows, parts = [], []
    for name, array in shadowed.outputs.items():
        is_text = array.dtype.kind == "O"
        part = orjson.dumps(array.reshape(-1).tolist()) if is_text else array.tobytes()
        dtype = TEXT if is_text else array.dtype.str
        rows.append({"name": name, "dtype": dtype, "shape": list(array.shape), "bytes": len(part)})
        parts.append(part)
    head = orjson.dumps({"request": len(shadowed.body), "header": shadowed.header_length, "outputs": rows})
    return b"".join([LENGTH.pack(len(head)), head, shadowed.body, *parts])


def unpack(content: bytes) -> Shadowed:
    """What `pack` packed; raises Malformed."""
    try:
        (size,) = LENGTH.unpack_from(content)
        head = orjson.loads(content[LENGTH.size : LENGTH.size + size])
        start = LENGTH.size + size
        body = content[start : start + head["request"]]
        return Shadowed(body, head["header"], _outputs(head["outputs"], memoryview(content)[start + len(body) :]))
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise Malformed(f"not a shadowed request: {str(error)[:100]}") from None


def _outputs(rows: list[dict[str, Any]], content: memoryview) -> dict[str, Array]:
    if len(rows) > MAX_OUTPUTS or sum(row["bytes"] for row in rows) != len(content):
        raise ValueError("its outputs are not as long as it says")
    outputs: dict[str, Array] = {}
    for row in rows:
        part, content = content[: row["bytes"]], content[row["bytes"] :]
        outputs[row["name"]] = _tensor(row, part)
    return outputs


def _tensor(row: dict[str, Any], part: memoryview) -> Array:
    if row["dtype"] == TEXT:
        texts = orjson.loads(part)
        array: Array = np.empty(len(texts), object)
        array[:] = texts
        return array.reshape(row["shape"])
    dtype = np.dtype(row["dtype"])
    if dtype.kind not in "biuf" or math.prod(row["shape"]) * dtype.itemsize != len(part):
        raise ValueError("an output is not what its shape says")
    return np.frombuffer(part, dtype).reshape(row["shape"])
