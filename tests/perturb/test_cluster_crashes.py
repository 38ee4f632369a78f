"""Killed after any write, replaced by another process, or its memory lost: a deployment comes to the same end."""

from __future__ import annotations

import pytest

from .cluster_families import all_end_the_same, every
from .cluster_faults import crash, depose, late
from .cluster_stories import BY_NAME, STORIES
from .cluster_story import Story, reference

stories = pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)


@stories
def test_the_end_is_the_same_whichever_write_was_the_last(story: Story) -> None:
    known = reference(story)
    all_end_the_same("P1", known, ((frame, crash(after=nth)) for frame, nth in known.writes()))


@stories
def test_the_end_is_the_same_when_nobody_is_there_for_a_while(story: Story) -> None:
    known = reference(story)
    some = every(12, known.writes(), start=len(story.name))
    all_end_the_same("P1", known, ((frame, crash(after=nth, down_for=40)) for frame, nth in some))


@stories
def test_a_process_that_has_lost_its_lease_changes_nothing_any_more(story: Story) -> None:
    known = reference(story)
    all_end_the_same("P3", known, ((frame, depose()) for frame in every(2, known.moments())))


@pytest.mark.parametrize(
    "name", ["promoted", "rolled back by errors", "new spec in the steps", "deleted and made again"]
)
def test_a_write_that_was_under_way_when_the_lease_was_lost_does_no_lasting_harm(name: str) -> None:
    known = reference(BY_NAME[name])
    some = every(3, known.writes())
    all_end_the_same("P3", known, ((frame, late(nth, 0.001 if nth % 2 else 3.0)) for frame, nth in some))
