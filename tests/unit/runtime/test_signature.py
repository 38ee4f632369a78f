"""A shape that does not fit is refused without a look at all of it: a client may send millions of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from tests.unit.runtime.fake_model import FakeModel

from tidegate.bundle.manifest import TensorSpec
from tidegate_runtime.errors import BadRequest
from tidegate_runtime.signature import NO_SHAPE, Signature

SIGNATURE = Signature(FakeModel(), most_rows=64)


class Long(Sequence[Any]):
    """Eight million times the same, of which only the beginning may be looked at."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __len__(self) -> int:
        return 8_000_000

    def __getitem__(self, at: Any) -> Any:
        assert at == slice(None, 16)
        return [self._value] * 16

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("all of it is looked at")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [(1, "shape [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, …] does not fit [N, 2]"), (-1, NO_SHAPE),
     ("x" * 1000, NO_SHAPE), (True, NO_SHAPE)],
)  # fmt: skip
def test_a_shape_of_the_wrong_rank_is_refused_by_its_beginning(value: object, sentence: str) -> None:
    with pytest.raises(BadRequest) as refused:
        SIGNATURE.declared("x", "FP32", Long(value), ())
    assert refused.value.message == f"input 'x': {sentence}"


def test_of_many_missing_inputs_the_first_are_named() -> None:
    inputs = tuple(TensorSpec(f"x{number:03}", "FP32", ("N", 2)) for number in range(500))
    with pytest.raises(BadRequest) as refused:
        Signature(FakeModel(inputs=inputs), most_rows=64).check_together({})
    names = ", ".join(f"'x{number:03}'" for number in range(32))
    assert refused.value.message == f"input {names} is missing"
