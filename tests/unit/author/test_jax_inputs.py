"""What JAX is told of its inputs, without JAX: names, sizes that may be any, and what cannot be packed."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from tidegate.author.frameworks.jax import _by_keyword, inputs_of
from tidegate.errors import Invalid


def two(numbers: Any, colour: Any) -> Any:
    return numbers, colour


def test_the_first_dimension_may_be_any_and_the_others_are_as_large_as_in_the_example() -> None:
    (given,) = inputs_of(abs, np.zeros((2, 28, 28, 1), np.float32), {})

    assert (given.name, given.shape, given.dtype) == ("input", ("batch", 28, 28, 1), np.float32)


def test_a_tuple_of_arrays_takes_the_names_of_the_functions_parameters() -> None:
    given = inputs_of(two, (np.zeros((1, 3)), np.zeros((1, 1), np.int64)), {})

    assert [(one.name, one.dtype) for one in given] == [("numbers", np.float32), ("colour", np.int32)]


def test_names_in_the_example_win() -> None:
    (given,) = inputs_of(abs, {"image": np.zeros((1, 4), np.uint8)}, {})

    assert (given.name, given.dtype) == ("image", np.uint8)


def test_several_arrays_by_name_stand_in_the_order_of_the_parameters() -> None:
    given = inputs_of(two, {"colour": np.zeros((1, 1), np.int32), "numbers": np.zeros((1, 3))}, {})

    assert [(one.name, one.shape) for one in given] == [("numbers", ("batch", 3)), ("colour", ("batch", 1))]


def skipping(numbers: Any, mask: Any = None, colour: Any = None) -> Any:
    return numbers, mask, colour


@pytest.mark.parametrize(
    ("function", "names", "told"),
    [
        (two, ("numbers", "color"), "the function takes numbers, colour, and there is 'color', which is none of them"),
        (skipping, ("numbers", "colour"), "takes numbers, mask, colour, and there is nothing for 'mask'"),
        (lambda *arrays: arrays, ("numbers", "colour"), "takes no arguments by name.* or give a tuple of them"),
    ],
)
def test_a_name_whose_place_nobody_knows_is_refused(function: Any, names: tuple[str, str], told: str) -> None:
    with pytest.raises(Invalid, match=told):
        inputs_of(function, {name: np.zeros((1, 3)) for name in names}, {})


def test_the_user_says_which_other_sizes_may_be_any() -> None:
    (given,) = inputs_of(abs, {"tokens": np.zeros((2, 7, 8))}, {"tokens": ("batch", "length", 8)})

    assert given.shape == ("batch", "length", 8)


def test_another_number_of_dimensions_than_in_the_example_is_refused() -> None:
    with pytest.raises(Invalid, match="'tokens' has 3 dimensions in the example, not 2"):
        inputs_of(abs, {"tokens": np.zeros((2, 7, 8))}, {"tokens": ("batch", "length")})


def test_without_an_example_it_says_how_to_give_one() -> None:
    with pytest.raises(Invalid, match=r"return model, np\.zeros"):
        inputs_of(abs, None, {})


def test_an_artefact_of_jax_export_is_refused_with_what_to_return_instead(packed: Any) -> None:
    exported = type("Exported", (), {"__module__": "jax._src.export._export"})

    with pytest.raises(Invalid, match=r"StableHLO.*return the function"):
        packed(exported())


def test_a_pool_called_by_position_is_called_by_keyword() -> None:
    def pool(inputs: Any, /, *, window_shape: Any, strides: Any = None, padding: str = "VALID") -> Any:
        return inputs, window_shape, strides, padding

    def original(inputs: Any, window_shape: Any, strides: Any = None, padding: str = "VALID") -> Any:
        raise AssertionError("only its parameters are looked at")

    assert _by_keyword(pool, inspect.signature(original))(1, (2, 2), (3, 3)) == (1, (2, 2), (3, 3), "VALID")
