"""The example that an exporter follows: from data, from a factory, or from sizes; nothing here needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tidegate.author import DataSet, PackRequest
from tidegate.author.frameworks.torch.example import (
    Parameters,
    as_data,
    example_of,
    for_tracing,
    parameters_of,
    readings,
    require_no_gap,
)
from tidegate.errors import Invalid

TWO = Parameters(("tokens", "mask"), ("positions",))
ONE = Parameters(("x",))


def request(**fields: Any) -> PackRequest:
    return PackRequest(Path("bundle"), "model", "1", **fields)


def shapes(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: array.shape for name, array in arrays.items()}


def test_arguments_are_read_from_the_signature() -> None:
    def forward(tokens: Any, mask: Any, positions: Any = None, *, scale: float = 1.0, **options: Any) -> None: ...

    def any_number(*tensors: Any) -> None: ...

    assert parameters_of(forward) == Parameters(("tokens", "mask"), ("positions", "scale"))
    assert parameters_of(any_number) == Parameters((), (), open_ended=True)


def test_a_tuple_goes_to_the_arguments_in_their_order() -> None:
    found = example_of((np.zeros((2, 3)), np.ones((2, 3))), TWO, request())

    assert list(found) == ["tokens", "mask"]
    assert found["mask"].all()


def test_a_dictionary_goes_by_name() -> None:
    found = example_of({"mask": np.ones(2), "tokens": np.zeros(2)}, TWO, request())

    assert list(found) == ["tokens", "mask"]


def test_the_users_data_comes_before_the_factorys_example() -> None:
    found = example_of(np.zeros((2, 3)), ONE, request(data=DataSet("rows.npz", {"X": np.zeros((5, 3))})))

    assert shapes(found) == {"x": (5, 3)}


def test_columns_stand_side_by_side_for_a_single_argument() -> None:
    data = DataSet("rows.csv", {"a": np.zeros(5), "b": np.ones(5)})

    assert shapes(example_of(None, ONE, request(data=data))) == {"x": (5, 2)}


def test_sizes_alone_make_an_example_up() -> None:
    found = example_of(None, ONE, request(interface={"x": ("batch", "time", 4)}))

    assert shapes(found) == {"x": (3, 8, 4)}


def test_sizes_stand_in_the_order_of_the_arguments() -> None:
    sizes = {"positions": ("batch", 2), "mask": ("batch", 4), "tokens": ("batch", 3)}

    assert shapes(example_of(None, TWO, request(interface=sizes))) == {
        "tokens": (3, 3),
        "mask": (3, 4),
        "positions": (3, 2),
    }
    assert list(example_of(None, TWO, request(interface=sizes))) == ["tokens", "mask", "positions"]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("tokens", "masks"), "--interface: 'masks' is nothing that forward.. takes: tokens, mask, positions"),
        (("tokens", "positions"), "--interface: there are no sizes for 'mask', which forward.. takes"),
    ],
)
def test_sizes_of_what_is_no_argument_are_refused(names: tuple[str, str], told: str) -> None:
    with pytest.raises(Invalid, match=told):
        example_of(None, TWO, request(interface=dict.fromkeys(names, ("batch", 3))))


def test_arguments_by_place_have_no_gap() -> None:
    parameters = Parameters(("tokens",), ("mask", "positions"))

    require_no_gap({"tokens": np.zeros(2), "mask": np.zeros(2)}, parameters, "model.pt")
    require_no_gap({"any name": np.zeros(2)}, parameters, "model.pt")
    with pytest.raises(Invalid, match=r"model\.pt: there is nothing for 'mask', which comes before 'positions'"):
        require_no_gap({"tokens": np.zeros(2), "positions": np.zeros(2)}, parameters, "model.pt")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, "no example of what the model takes.*return model, example"),
        ((np.zeros(2),), "it has 1 parts, forward\\(\\) takes tokens, mask"),
        ({"tokens": np.zeros(2)}, "there is nothing for 'mask'"),
    ],
)
def test_an_example_that_does_not_fit_the_arguments_is_refused(given: Any, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        example_of(given, TWO, request())


def test_whole_numbers_are_read_as_they_are_first_and_as_floats_then() -> None:
    kinds = [array["x"].dtype.name for array in readings({"x": np.zeros((2, 3), np.uint8)}, "float32")]

    assert kinds == ["int64", "float32", "int64"]


def test_a_single_row_is_doubled_since_a_size_of_one_would_be_taken_for_always_one() -> None:
    assert shapes(for_tracing({"x": np.zeros((1, 3))})) == {"x": (2, 3)}
    assert shapes(for_tracing({"x": np.zeros((99, 3))})) == {"x": (4, 3)}


def test_a_few_rows_are_no_data() -> None:
    assert as_data({"x": np.zeros((4, 3))}, request()) is None
    found = as_data({"x": np.zeros((8, 3))}, request())
    assert found is not None
    assert found.columns["x"].shape == (8, 3)
