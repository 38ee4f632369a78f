"""Every call of the operator may fail, in every way that a server or a network has."""

from __future__ import annotations

import pytest

from .cluster_families import all_end_the_same, every
from .cluster_faults import conflicts, outage, refuse
from .cluster_stories import BY_NAME, STORIES
from .cluster_story import Story, reference

stories = pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
# Before the write takes effect, or after it (the answer is lost).
ERRORS = (
    ("409", False), ("422", False), ("429", False), ("500", False), ("timeout", True), ("403", False), ("400", False),
    ("403 quota", False), ("404", False), ("413", False), ("503", False), ("reset", True), ("409", True),
)  # fmt: skip
ASKED_FOR = ERRORS[:6]


@pytest.mark.parametrize("name", ["promoted", "rolled back by errors"])
def test_each_write_may_fail_once_in_each_of_the_common_ways(name: str) -> None:
    known = reference(BY_NAME[name])
    runs = ((frame, refuse(nth, error, after=after)) for frame, nth in known.writes() for error, after in ASKED_FOR)
    all_end_the_same("P12", known, runs)


@stories
def test_each_write_may_fail_once(story: Story) -> None:
    """Over all stories every kind of write fails in every way."""
    known, turn = reference(story), STORIES.index(story)
    runs = []
    for i, (frame, nth) in enumerate(every(2, known.writes(), start=turn)):
        for error, after in every(len(ERRORS), ERRORS, start=i + 3 * turn):
            runs.append((frame, refuse(nth, error, after=after)))
    all_end_the_same("P12", known, runs)


@stories
def test_a_failed_write_is_tried_again_after_its_pause(story: Story) -> None:
    known, turn = reference(story), STORIES.index(story)
    runs = []
    for i, (frame, nth) in enumerate(every(11, known.writes(), start=turn)):
        error, after = ERRORS[(i + turn) % len(ERRORS)]
        runs.append((frame, refuse(nth, error, after=after, at_once=False)))
    all_end_the_same("P12", known, runs)


@stories
def test_a_status_may_conflict_five_times_in_a_row(story: Story) -> None:
    known = reference(story)
    all_end_the_same("P13", known, ((frame, conflicts(5)) for frame in every(2, known.moments())))


@stories
def test_the_api_server_may_be_down_for_five_minutes_in_any_phase(story: Story) -> None:
    known = reference(story)
    some = every(4, known.moments(), start=STORIES.index(story))
    all_end_the_same("P14", known, ((frame, outage()) for frame in some))
