"""Server-sent events: how changes of the board travel to one page.

A position is given away only with the last piece of what belongs to it, so a page that was cut off in the middle asks
again from where it was whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import orjson

from tidegate.dashboard.board import Board, Changes

PIECE_BYTES = 256 * 1024
POSITION = re.compile(r"([0-9a-f]{1,32})-([0-9]{1,18})")


def event(name: str, data: bytes, position: str = "") -> bytes:
    """One event; `data` is JSON in one line."""
    told = f"id: {position}\n" if position else ""
    return f"{told}event: {name}\n".encode() + b"data: " + data + b"\n\n"


def position_of(board: Board, told: str) -> int | None:
    """Where a page that says this in Last-Event-ID was, if it was at this board."""
    found = POSITION.fullmatch(told)
    return int(found[2]) if found and found[1] == board.epoch else None


def events(board: Board, changes: Changes) -> Iterator[bytes]:
    """What a page is sent of these changes, in pieces."""
    if changes.facts is not None:
        yield event("facts", changes.facts)
    gone = orjson.dumps(changes.gone)
    pieces = list(split(changes.put)) or [()]
    for number, put in enumerate(pieces, 1):
        first, last = number == 1, number == len(pieces)
        told = b'{"reset":%s,"gone":%s,"put":[' % (
            flag(first and changes.reset),
            gone if first else b"[]",
        )
        ends = b'],"whole":%s,"full":%s}' % (flag(last), flag(board.left_out))
        whole = told + b",".join(put) + ends
        yield event("changes", whole, f"{board.epoch}-{changes.position}" if last else "")


def flag(value: bool) -> bytes:
    return b"true" if value else b"false"


def split(contents: Sequence[bytes]) -> Iterator[tuple[bytes, ...]]:
    """The same in order, in pieces of about a size."""
    piece: list[bytes] = []
    size = 0
    for content in contents:
        if piece and size + len(content) > PIECE_BYTES:
            yield tuple(piece)
            piece, size = [], 0
        piece.append(content)
        size += len(content)
    if piece:
        yield tuple(piece)
