"""A message, taken apart at its top level before protobuf makes objects of it.

The raw values of tensors are nearly all of a large message: they are left where they are, and protobuf, which would
copy them twice, gets the rest.  And nobody gets a message of millions of fields: two bytes are an empty tensor, which
takes 58 in memory (8 MiB of them took 232 MB, and 0.2 s that nobody else was served).
"""

from __future__ import annotations

from typing import Final

from tidegate_runtime.errors import BadRequest

SMALL: Final = 8 << 10  # a message up to here is all protobuf's, which is quicker than to walk it
LARGE: Final = 1 << 20  # what a smaller message can become does not matter
MOST_FIELDS: Final = 4096  # 1,024 inputs, their values and as many outputs are 3,072
VARINT, BYTES = 0, 2
GROUPS: Final = (3, 4)  # begin and end: what is between them is not at the top level
RAW: Final = 7 << 3 | BYTES  # ModelInferRequest.raw_input_contents
SIZES: Final = {1: 8, 3: 0, 4: 0, 5: 4}  # of the other kinds: fixed 64, begin and end of a group, fixed 32
LONGEST: Final = 10  # bytes of a number


def take_apart(message: bytes | memoryview) -> tuple[bytes | memoryview, list[memoryview]]:
    """A ModelInferRequest without its raw values, and those; none are taken out of what is small or not understood.

    Raises BadRequest when a large message has more than 4,096 fields.
    """
    if len(message) <= SMALL:
        return message, []
    view = memoryview(message)
    rest: list[memoryview] = []
    raws: list[memoryview] = []
    at = kept = fields = 0
    grouped = False
    try:
        while at < len(view):
            fields += 1
            if fields > MOST_FIELDS:
                return _too_many(message)
            begin = at
            tag, at = _number(view, at)
            at, start = _end(view, tag & 7, at)
            grouped = grouped or tag & 7 in GROUPS
            if tag == RAW:
                rest.append(view[kept:begin])
                raws.append(view[start:at])
                kept = at
    except (IndexError, KeyError, ValueError):  # nonsense, which protobuf will refuse
        return message, []
    if at > len(view) or grouped or not raws:
        return message, []
    rest.append(view[kept:])
    return b"".join(rest), raws


def _too_many(message: bytes | memoryview) -> tuple[bytes | memoryview, list[memoryview]]:
    if len(message) > LARGE:
        raise BadRequest(f"the message has more than {MOST_FIELDS} fields")
    return message, []


def _end(view: memoryview, kind: int, at: int) -> tuple[int, int]:
    """Where a field ends whose tag ended at `at`, and where its content starts."""
    if kind == VARINT:
        return _number(view, at)[1], at
    if kind == BYTES:
        size, at = _number(view, at)
        return at + size, at
    return at + SIZES[kind], at


def _number(view: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at `at`, seven bits a byte, and where it ends."""
    value = 0
    for place in range(LONGEST):
        byte = view[at + place]
        value |= (byte & 127) << (7 * place)
        if byte < 128:  # noqa: PLR2004 - the eighth bit says that there is more
            return value, at + place + 1
    raise ValueError("a number of more than ten bytes")
