"""What the parts of an input are."""

from __future__ import annotations

import numpy as np
import pytest

from tidegate.attribution.players import PictureForm, players_of
from tidegate.bundle.manifest import TensorSpec


@pytest.mark.parametrize(
    ("shape", "form", "players"),
    [
        ((4,), PictureForm(), (4,)),
        ((10, 3), PictureForm(), (10,)),
        ((28, 28, 1), PictureForm(), (14, 14)),
        ((3, 224, 224), PictureForm(), (14, 14)),
        ((3, 224, 224), PictureForm(patch=56), (4, 4)),
        ((64,), PictureForm(8, 8), (8, 8)),
        ((9, 9), PictureForm(9, 9, 4), (3, 3)),
        ((5, 6, 7), PictureForm(), (5,)),
        ((), PictureForm(), (1,)),
    ],
)
def test_columns_steps_and_patches_are_the_parts(
    shape: tuple[int, ...], form: PictureForm, players: tuple[int, ...]
) -> None:
    found = players_of(TensorSpec("x", "FP32", ("batch", *shape)), shape, (), form, str)

    assert found.shape == players
    assert found.groups.shape == shape
    assert set(np.unique(found.groups)) == set(range(found.count))
    assert len(found.names) == found.count


def test_parts_are_named_as_they_lie_and_columns_as_the_data_call_them() -> None:
    spec = TensorSpec("x", "FP32", ("batch", "n"))

    assert players_of(spec, (2,), (), PictureForm(), str).names == ("x[0]", "x[1]")
    assert players_of(spec, (2,), ("age", "sum"), PictureForm(), str).names == ("age", "sum")
    assert players_of(spec, (2, 5), (), PictureForm(), str).names == ("x[0]", "x[1]")
    assert players_of(spec, (2, 4), (), PictureForm(2, 4, 2), str).names == ("x[0,0]", "x[0,1]")
    assert players_of(spec, (4,), (), PictureForm(2, 2, 1), str).names == ("x[0,0]", "x[0,1]", "x[1,0]", "x[1,1]")
    assert players_of(spec, (), (), PictureForm(), str).names == ("x",)


@pytest.mark.parametrize(
    ("shape", "form", "groups"),
    [
        ((2, 2), PictureForm(), [[0, 0], [1, 1]]),
        ((1, 3), PictureForm(), [[0, 1, 2]]),
        ((2, 4, 1), PictureForm(patch=2), [[[0], [0], [1], [1]], [[0], [0], [1], [1]]]),
        ((1, 2, 2), PictureForm(patch=1), [[[0, 1], [2, 3]]]),
        ((8,), PictureForm(2, 4, 2), [0, 0, 1, 1, 0, 0, 1, 1]),
    ],
)
def test_every_value_belongs_to_its_part(shape: tuple[int, ...], form: PictureForm, groups: object) -> None:
    assert players_of(TensorSpec("x", "FP32", ("batch", *shape)), shape, (), form, str).groups.tolist() == groups


def test_the_size_of_a_picture_is_read_as_people_write_it() -> None:
    assert PictureForm.read("28X14", 2) == PictureForm(28, 14, 2)
    assert PictureForm.read("", 3) == PictureForm(0, 0, 3)


@pytest.mark.parametrize("size", ["28", "x28", "0x28", "28x28x3", "²x2", "1234567x1", "-1x4", "28 x 28"])
def test_what_is_no_size_is_refused(size: str) -> None:
    with pytest.raises(ValueError, match="is not HEIGHTxWIDTH"):
        PictureForm.read(size, 0)
