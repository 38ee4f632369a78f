"""When a new split is seen, and when the route ignores it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tidegate.plan.convergence import Split, doubt, ignored, seen

NOW, LATER = timedelta(seconds=1), timedelta(seconds=30)


@pytest.mark.parametrize(
    ("split", "is_seen"),
    [
        (Split(0, 10, 0, 0, NOW), False),
        (Split(0, 10, 0, 0, LATER), True),
        (Split(0, 10, 90, 10, NOW), True),
        (Split(10, 50, 50, 50, NOW), True),
        (Split(10, 50, 90, 10, NOW), False),
        (Split(10, 50, 90, 10, LATER), False),
        (Split(50, 10, 90, 10, NOW), True),
        (Split(10, 11, 890, 110, NOW), False),
        (Split(10, 11, 890, 110, LATER), True),
        (Split(0, 10, 50, 50, NOW), False),
        (Split(0, 10, 50, 50, LATER), False),
        (Split(0, 10, 5, 5, NOW), False),
        (Split(0, 10, 75, 25, NOW), False),
        (Split(0, 25, 30, 10, NOW), False),
        (Split(0, 10, 8, 1, NOW), False),
        (Split(0, 25, 75, 25, NOW), True),
        (Split(0, 50, 140, 60, NOW), True),
    ],
)
def test_a_split_is_seen_when_the_counts_speak_for_it(split: Split, is_seen: bool) -> None:
    assert seen(split) is is_seen


@pytest.mark.parametrize(
    ("split", "is_ignored"),
    [
        (Split(0, 10, 200, 0, NOW), True),
        (Split(0, 10, 199, 0, NOW), False),
        (Split(0, 10, 180, 20, NOW), False),
        (Split(10, 50, 0, 300, NOW), True),
    ],
)
def test_a_weight_is_ignored_when_enough_requests_contradict_it(split: Split, is_ignored: bool) -> None:
    assert ignored(split) is is_ignored


def test_nothing_is_doubted_without_requests() -> None:
    assert doubt(Split(0, 10, 0, 0, NOW)) == 1.0
