"""What the page draws: bars for columns and steps, and pictures with their patches laid over."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from tidegate.attribution.players import Picture
from tidegate.author.session import Array

WIDTH, MIDDLE, REACH = 640, 400, 220  # of a row of bars; where zero is; how long the longest is
LONGEST_NAME = 24  # characters: what fits beside the bars
LINE = 24
SIDE = 240  # of a picture on the page
DEPTHS = {1: 0, 3: 2, 4: 6}  # PNG's number for grey, RGB, RGBA
STRONGEST = 0.85


@dataclass(frozen=True, slots=True)
class Bar:
    """A player, what the row holds for it, and what it adds."""

    name: str
    value: str
    share: float


def bars(rows: Sequence[Bar]) -> str:
    """One line each, to the right what adds and to the left what takes away."""
    longest = max((abs(row.share) for row in rows), default=0.0) or 1.0
    lines = "".join(_bar(row, number, REACH / longest) for number, row in enumerate(rows))
    height = LINE * len(rows)
    return (
        f'<svg class="bars" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="what each part adds">'
        f'<line class="zero" x1="{MIDDLE}" x2="{MIDDLE}" y1="0" y2="{height}"/>{lines}</svg>'
    )


def _bar(row: Bar, number: int, scale: float) -> str:
    top, length = number * LINE, abs(row.share) * scale
    left = MIDDLE if row.share >= 0 else MIDDLE - length
    name = row.name if len(row.name) <= LONGEST_NAME else f"{row.name[: LONGEST_NAME - 1]}…"
    shown = f"{name} = {row.value}" if row.value else name
    end, anchor = (MIDDLE - 6, "end") if row.share >= 0 else (MIDDLE + 6, "start")
    title = escape(f"{row.name} {row.value}: {row.share:+.4g}")
    return (
        f"<g><title>{title}</title>"
        f'<rect class="{_tone(row.share)}" x="{left:.1f}" y="{top + 4}"'
        f' width="{max(length, 1):.1f}" height="{LINE - 8}"/>'
        f'<text class="name" x="{end}" y="{top + 16}" text-anchor="{anchor}">{escape(shown)}</text>'
        f'<text class="share" x="0" y="{top + 16}">{row.share:+.3g}</text></g>'
    )


def _tone(share: float) -> str:
    return "adds" if share >= 0 else "takes"


def patches(row: Array, shares: Array, *, label: str, picture: Picture) -> str:
    """The picture alone, and beside it with each patch in the colour and strength of what it adds."""
    height, width, side = picture.height, picture.width, picture.patch
    image = f'width="{width}" height="{height}" href="{_as_png(row, picture)}"/>'
    strongest = float(np.abs(shares).max(initial=0.0)) or 1.0
    cells = "".join(
        f'<rect class="{_tone(share)}" x="{column * side}" y="{line * side}" width="{side}" height="{side}" '
        f'fill-opacity="{STRONGEST * abs(share) / strongest:.2f}"><title>{line},{column}: {share:+.4g}</title></rect>'
        for line, columns in enumerate(shares.tolist())
        for column, share in enumerate(columns)
    )
    size = f'width="{SIDE}" height="{SIDE * height / width:.0f}" viewBox="0 0 {width} {height}"'
    return (
        f'<div class="pictures"><svg {size} role="img" aria-label="the picture"><image {image}</svg>'
        f'<svg {size} role="img" aria-label="{escape(label)}"><image class="faint" {image}{cells}</svg></div>'
    )


def _as_png(row: Array, picture: Picture) -> str:
    """One row as a PNG in a data URL, stretched from its least to its largest value."""
    values = row.astype(np.float64)
    if picture.colours is not None:
        values = np.moveaxis(values, picture.colours, -1)
    values = values.reshape(picture.height, picture.width, -1)
    low, high = values.min(), values.max()
    pixels = ((values - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    head = struct.pack(">IIBBBBB", picture.width, picture.height, 8, DEPTHS[pixels.shape[2]], 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(lines)) + _chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
