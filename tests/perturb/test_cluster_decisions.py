"""What was decided is told once, whatever fails: never twice, and where no process was killed nothing is missing."""

from __future__ import annotations

from collections import Counter

import pytest

from .cluster_faults import Fault, conflicts, crash, refuse
from .cluster_stage import Stage
from .cluster_stories import BY_NAME
from .cluster_story import Frame, reference

MOST_OF_A_TURN = 3
stories = pytest.mark.parametrize("name", ["promoted", "rolled back by errors"])


def after(frame: Frame, fault: Fault) -> Stage:
    """The stage when the story is over."""
    run = frame.run.copy()
    fault.strike(run.stage)
    run.go()
    return run.stage


def numbers(stage: Stage) -> list[int]:
    return [decision.number for _, decision in stage.decided]


@stories
def test_decisions_are_counted_without_a_gap_also_where_an_answer_was_lost(name: str) -> None:
    for frame, nth in reference(BY_NAME[name]).writes():
        stage = after(frame, refuse(nth, "timeout", after=True))

        assert numbers(stage) == [*range(1, stage.status.decisions + 1)]


@stories
def test_a_conflict_makes_no_decision_twice(name: str) -> None:
    for frame in [*reference(BY_NAME[name]).moments()][::3]:
        stage = after(frame, conflicts(3))

        assert numbers(stage) == [*range(1, stage.status.decisions + 1)]


@stories
def test_a_process_that_is_killed_tells_of_nothing_that_the_next_one_tells_again(name: str) -> None:
    for frame, nth in reference(BY_NAME[name]).writes():
        stage = after(frame, crash(after=nth))

        told = Counter(numbers(stage))
        assert max(told.values()) == 1
        # A written status is told of in the same turn: only the kill right between the two loses one turn's.
        missing = sorted({*range(1, stage.status.decisions + 1)} - {*told})
        assert len(missing) <= MOST_OF_A_TURN
