"""News that comes late, twice, in another order or not at all: a deployment comes to the same end."""

from __future__ import annotations

import pytest

from tidegate.cluster.watch import KINDS
from tidegate.plan.manifests.identity import Kind

from .cluster_families import all_end_the_same, every
from .cluster_faults import double, lag, lose, stale
from .cluster_stories import BY_NAME, STORIES
from .cluster_story import Story, reference

stories = pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
FOR_EVER = 10**6


@stories
def test_an_event_that_is_lost_is_made_up_for(story: Story) -> None:
    known = reference(story)
    some = every(7, known.news(), start=len(story.name))
    all_end_the_same("P8", known, ((frame, lose(nth)) for frame, nth in some))


@stories
def test_a_watch_that_falls_silent_is_made_up_for_when_it_begins_anew(story: Story) -> None:
    known = reference(story)
    some = every(23, known.news(), start=len(story.name))
    all_end_the_same("P8", known, ((frame, lose(nth, FOR_EVER)) for frame, nth in some))


@stories
def test_an_event_that_comes_twice_is_one(story: Story) -> None:
    known = reference(story)
    all_end_the_same(
        "P9", known, ((frame, double(nth)) for frame, nth in every(9, known.news(), start=len(story.name)))
    )


@stories
def test_kinds_may_be_seen_in_any_order(story: Story) -> None:
    known, begin = reference(story), reference(story).frames[0]
    turn = STORIES.index(story)
    kinds = every(5, KINDS, start=turn)
    all_end_the_same("P7", known, [(begin, lag(7.0, kind)) for kind in kinds])


@pytest.mark.parametrize("name", ["promoted", "deleted and made again"])
def test_reads_may_be_stale_when_the_answer_to_a_write_was_lost(name: str) -> None:
    known = reference(BY_NAME[name])
    all_end_the_same("P7", known, ((frame, stale(nth)) for frame, nth in known.writes()))


@stories
def test_everything_may_be_seen_late_and_only_as_it_is_then(story: Story) -> None:
    known = reference(story)
    all_end_the_same("P7", known, [(known.frames[0], lag(6.0, *KINDS, newest_only=True))])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_each_kind_may_be_seen_half_a_minute_late(kind: Kind) -> None:
    known = reference(BY_NAME["promoted while the load changes"])
    all_end_the_same("P7", known, [(known.frames[0], lag(30.0, kind))])
