"""The parts of an input that are switched on and off together, called players as in the theory of Shapley's values.

A table's columns are players of their own.  A picture's are square patches over all its colours, for a single pixel
says little and there are too many.  A sequence's are its steps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.bundle.manifest import TensorSpec
from tidegate.errors import Invalid

Array = npt.NDArray[Any]
MOST_PATCHES = 14  # per side, unless the user wants more
Option = Callable[[str], str]
COLOURS = (1, 3, 4)
SEQUENCE, PICTURE = 2, 3  # dimensions of one row


@dataclass(frozen=True, slots=True)
class Picture:
    """Height and width in pixels, which axis of a row its colours are, and how many pixels a patch has on each side."""

    height: int
    width: int
    colours: int | None = None
    patch: int = 1


@dataclass(frozen=True)
class Players:
    """The players of one input, laid out by `shape`; `row` is the shape of one of its rows.

    How many there are is known before anything is made for each: whoever asks for them may ask for millions.
    """

    name: str
    row: tuple[int, ...]
    shape: tuple[int, ...]
    columns: tuple[str, ...] = ()  # as the data call them; empty: by number
    picture: Picture | None = None

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @cached_property
    def groups(self) -> Array:
        """Which player each element of a row belongs to."""
        if self.picture is not None:
            return _patched(self.picture, self.row, self.shape[1])
        each = math.prod(self.row) // self.count if self.count else 0  # elements, one behind the other
        return np.broadcast_to(np.arange(self.count)[:, None], (self.count, each)).reshape(self.row)

    @cached_property
    def names(self) -> tuple[str, ...]:
        if self.columns:
            return self.columns
        if self.picture is not None:
            return tuple(f"{self.name}[{down},{across}]" for down, across in np.ndindex(self.shape))
        return (self.name,) if self.count == 1 else tuple(f"{self.name}[{number}]" for number in range(self.count))


@dataclass(frozen=True, slots=True)
class PictureForm:
    """What the user said of pictures: the size of one that is laid out flat, and how large a patch is; 0: choose."""

    height: int = 0
    width: int = 0
    patch: int = 0

    @classmethod
    def read(cls, size: str, patch: int) -> PictureForm:
        """From "28x28", or nothing, and the pixels of a patch; raises ValueError with a sentence."""
        if not size:
            return cls(patch=patch)
        found = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", size.lower())
        if not found:
            raise ValueError(f"'{size[:40]}' is not HEIGHTxWIDTH")
        return cls(int(found[1]), int(found[2]), patch)


def players_of(
    spec: TensorSpec, shape: tuple[int, ...], columns: Sequence[str], form: PictureForm, option: Option
) -> Players:
    """The players of one input whose rows have this shape; `columns` names them where the data does.

    `option` says how an option is called where it was given, for sentences.
    """
    picture = _picture(spec, shape, form, option)
    if picture is not None:
        return _patches(spec, shape, picture, form.patch)
    if len(shape) >= SEQUENCE and shape[0] > 1:
        return Players(spec.name, shape, shape[:1])
    count = math.prod(shape)
    return Players(spec.name, shape, (count,), tuple(columns) if len(columns) == count else ())


def _picture(spec: TensorSpec, shape: tuple[int, ...], form: PictureForm, option: Option) -> Picture | None:
    """Whether a row is a picture: said so, or three dimensions of which the first or last can be colours."""
    if spec.element_type == "BYTES":
        return None
    if form.height and len(shape) < PICTURE:
        if math.prod(shape) != form.height * form.width:
            raise Invalid(
                f"a row of '{spec.name}' has {math.prod(shape)} values, a picture of {form.height}x{form.width} "
                f"has {form.height * form.width}",
                where=option("picture"),
                do="write HEIGHTxWIDTH of the pictures, or leave it away",
            )
        return Picture(form.height, form.width)
    if len(shape) != PICTURE:
        return None
    if shape[0] in COLOURS:
        return Picture(shape[1], shape[2], colours=0)
    return Picture(shape[0], shape[1], colours=2) if shape[2] in COLOURS else None


def _patches(spec: TensorSpec, shape: tuple[int, ...], picture: Picture, patch: int) -> Players:
    side = patch or max(1, math.ceil(max(picture.height, picture.width) / MOST_PATCHES))
    tall, wide = math.ceil(picture.height / side), math.ceil(picture.width / side)
    return Players(spec.name, shape, (tall, wide), picture=replace(picture, patch=side))


def _patched(picture: Picture, row: tuple[int, ...], wide: int) -> Array:
    """Which patch each value belongs to, `wide` of them beside each other."""
    down, across = np.arange(picture.height) // picture.patch, np.arange(picture.width) // picture.patch
    grid = down[:, None] * wide + across[None, :]
    if picture.colours is None:
        return grid.reshape(row)
    of_all = np.expand_dims(grid, picture.colours)
    return np.broadcast_to(of_all, row[len(row) - PICTURE :]).reshape(row)
