"""How many fields a message has, before protobuf makes objects of them.

Two bytes are an empty tensor, which takes 58 in memory: 8 MiB of them took 232 MB, and 0.2 s that nobody else was
served.  So large messages are walked once, from one field at their top level to the next, and not far.
"""

from __future__ import annotations

from typing import Final

LARGE: Final = 1 << 20  # what a smaller message can become does not matter
MOST_FIELDS: Final = 4096  # 1,024 inputs, their values and as many outputs are 3,072
VARINT, BYTES = 0, 2
SIZES: Final = {1: 8, 3: 0, 4: 0, 5: 4}  # of the other kinds: fixed 64, begin and end of a group, fixed 32
LONGEST: Final = 10  # bytes of a number


def has_too_many_fields(message: bytes) -> bool:
    """Whether a large message has more than 4,096 fields; false for what protobuf will refuse."""
    if len(message) <= LARGE:
        return False
    at = 0
    try:
        for _ in range(MOST_FIELDS):
            tag, at = _number(message, at)
            kind = tag & 7
            if kind == VARINT:
                _, at = _number(message, at)
            elif kind == BYTES:
                size, at = _number(message, at)
                at += size
            else:
                at += SIZES[kind]
    except (IndexError, KeyError, ValueError):  # its end, or nonsense
        return False
    return at < len(message)


def _number(message: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, seven bits a byte, and where it ends."""
    value = 0
    for place in range(LONGEST):
        byte = message[at + place]
        value |= (byte & 127) << (7 * place)
        if byte < 128:  # noqa: PLR2004 - the eighth bit says that there is more
            return value, at + place + 1
    raise ValueError("a number of more than ten bytes")
