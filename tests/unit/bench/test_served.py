"""Who gets which core."""

from __future__ import annotations

import pytest

from tidegate.bench.served import divided
from tidegate.errors import UsageError


@pytest.mark.parametrize(
    ("cores", "wanted", "server", "own"),
    [
        ([0, 1, 2, 3], None, {0, 1, 2}, {3}),
        ([0, 1, 2, 3], 1, {0}, {1, 2, 3}),
        ([4, 6], None, {4}, {6}),
        ([0], None, {0}, {0}),
        ([0], 1, {0}, {0}),
    ],
)
def test_the_load_generator_has_a_core_of_its_own_where_there_are_two(
    cores: list[int], wanted: int | None, server: set[int], own: set[int]
) -> None:
    assert divided(cores, wanted) == (server, own)


def test_a_server_cannot_have_all_cores() -> None:
    with pytest.raises(UsageError, match="take 1 or fewer"):
        divided([0, 1], 2)
