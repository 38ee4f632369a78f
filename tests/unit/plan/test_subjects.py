"""What a command must name: what is done already, what makes no sense, and that the plan obeys what is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tidegate.plan.history import ROLLED_BACK
from tidegate.plan.subjects import SUBJECTS, Asked, NothingToDo
from tidegate.plan.verbs import Verb

from .conftest import Story
from .statuses import NOW, status_of

STABLE = {"revision": "aaa", "number": 1, "version": "1.0", "digest": "sha256:" + "a" * 64}
CANDIDATE = {"revision": "bbb", "number": 2, "version": "2.0", "digest": "sha256:" + "b" * 64}
HOLDING = {"phase": "Holding", "step": 2, "weight": 50}
STABLE_SERVED = {"revision": "aaa", "number": 1, "version": "1.0"}
TRYING: dict[str, Any] = {"stable": STABLE, "candidate": CANDIDATE, "rollout": HOLDING}


def subject(verb: Verb, wish: str | None = None, *true: str, **parts: Any) -> str | Asked:
    return SUBJECTS[verb](status_of(*true, **parts), wish)


@pytest.mark.parametrize(
    ("verb", "wish", "named"),
    [
        (Verb.PROMOTE, None, "bbb/2"),
        (Verb.PROMOTE, "2", "bbb/2"),
        (Verb.PROMOTE_FULL, None, "bbb"),
        (Verb.ABORT, None, "bbb"),
        (Verb.PAUSE, None, "bbb"),
    ],
)
def test_a_command_names_the_candidate_and_promote_its_step(verb: Verb, wish: str | None, named: str) -> None:
    assert subject(verb, wish, **TRYING) == named


def test_a_step_that_is_past_is_promoted_already() -> None:
    answer = subject(Verb.PROMOTE, "1", **TRYING)

    assert isinstance(answer, Asked)
    assert (answer.already, answer.message) == (True, "already: step 1 is passed")


def test_a_step_that_is_not_reached_is_refused() -> None:
    with pytest.raises(NothingToDo, match="step 3 is not reached, it is at step 2"):
        subject(Verb.PROMOTE, "3", **TRYING)


def test_before_the_first_step_there_is_nothing_to_promote() -> None:
    with pytest.raises(NothingToDo, match="no step is held yet"):
        subject(Verb.PROMOTE, stable=STABLE, candidate=CANDIDATE, rollout={"phase": "Proving"})


@pytest.mark.parametrize("verb", [Verb.PROMOTE, Verb.PROMOTE_FULL])
def test_a_candidate_on_its_way_back_is_not_promoted(verb: Verb) -> None:
    with pytest.raises(NothingToDo, match=r"version 2\.0 is not being tried any more"):
        subject(verb, stable=STABLE, candidate=CANDIDATE, rollout={"phase": "Returning"})


def test_an_abort_after_the_promotion_names_the_version_that_serves_while_the_old_one_is_warm() -> None:
    watching = {"phase": "Watching", "previous": CANDIDATE}

    assert subject(Verb.ABORT, stable=STABLE, rollout=watching) == "aaa"


@pytest.mark.parametrize("parts", [{}, {"candidate": CANDIDATE, "rollout": {"phase": "Returning"}}])
def test_a_second_abort_is_done_already(parts: dict[str, Any]) -> None:
    answer = subject(Verb.ABORT, None, "Ready", stable=STABLE, **parts)

    assert isinstance(answer, Asked)
    assert answer.already


def test_a_restart_waits_for_the_end_of_a_rollout() -> None:
    with pytest.raises(NothingToDo, match=r"version 2\.0 is being tried"):
        subject(Verb.RESTART, **TRYING)


def test_a_second_restart_and_a_second_rollback_are_on_their_way() -> None:
    history = [{"revision": "ccc", "number": 0, "version": "0.9", "outcome": "Promoted", "at": "2026-01-01T00:00:00Z"}]

    restart = subject(Verb.RESTART, stable=STABLE, restart="aaa-1")
    rollback = subject(Verb.ROLLBACK_TO, "0.9", stable=STABLE, rollback="ccc", history=history)

    assert isinstance(restart, Asked)
    assert isinstance(rollback, Asked)
    assert (restart.already, rollback.already) == (True, True)


SERVED = {"revision": "ccc", "number": 0, "version": "0.9", "outcome": "Promoted", "at": "2026-01-01T00:00:00Z"}
REJECTED = {"key": "bbb-1", "class": "Content", "reason": "Because", "at": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("verb", "wish", "true", "parts", "message"),
    [
        (Verb.PROMOTE, None, ["Promoted"], {"stable": STABLE}, "the version is promoted"),
        (Verb.PROMOTE_FULL, None, ["Promoted"], {"stable": STABLE}, "the version is promoted"),
        (Verb.PROMOTE_FULL, None, [], {**TRYING, "rollout": {**HOLDING, "full": True}}, "it goes to 100 % as soon as"),
        (Verb.PROMOTE, None, [], {**TRYING, "rollout": {**HOLDING, "promotedStep": 2}}, "step 2 is passed as soon as"),
        (Verb.RETRY, None, ["Ready"], {"stable": STABLE}, "nothing that the manifest asks for is rejected"),
        (Verb.PAUSE, None, [], {"stable": STABLE, "paused": True}, "it is paused"),
        (Verb.RESUME, None, [], {"stable": STABLE}, "it is not paused by a command"),
        (Verb.RESTART, None, [], {"stable": STABLE, "candidate": {**CANDIDATE, "digest": STABLE["digest"]}}, "are being"),
        (Verb.ROLLBACK_TO, "1.0", [], {"stable": STABLE}, "aaa serves"),
    ],
)  # fmt: skip
def test_what_is_so_already_is_not_asked_for_again(
    verb: Verb, wish: str | None, true: list[str], parts: dict[str, Any], message: str
) -> None:
    answer = subject(verb, wish, *true, **parts)

    assert isinstance(answer, Asked)
    assert answer.already
    assert message in answer.message


@pytest.mark.parametrize(
    ("verb", "wish", "parts", "sentence"),
    [
        (Verb.PROMOTE, None, {"stable": STABLE}, "no version is being tried"),
        (Verb.RESTART, None, {}, "no version serves yet"),
        (Verb.ROLLBACK_TO, None, {}, "no version serves yet"),
        (Verb.ROLLBACK_TO, None, {"stable": STABLE}, "no earlier version"),
        (Verb.ROLLBACK_TO, "7.0", {"stable": STABLE, "history": [SERVED]}, "no earlier version 7.0"),
    ],
)
def test_what_cannot_be_done_is_refused(verb: Verb, wish: str | None, parts: dict[str, Any], sentence: str) -> None:
    with pytest.raises(NothingToDo, match=sentence):
        subject(verb, wish, **parts)


@pytest.mark.parametrize(
    ("verb", "wish", "true", "parts", "named"),
    [
        (Verb.RETRY, None, ["Stalled"], {"stable": STABLE, "rejected": [REJECTED]}, "bbb"),
        (Verb.RETRY, None, ["Stalled"], {"stable": STABLE}, "any"),
        (Verb.PAUSE, None, [], {}, "any"),
        (Verb.RESUME, None, [], {"stable": STABLE, "paused": True}, "aaa"),
        (Verb.RESTART, None, [], {"stable": STABLE}, "aaa"),
        (Verb.ROLLBACK_TO, None, [], {"stable": STABLE, "history": [SERVED]}, "ccc"),
        (Verb.ROLLBACK_TO, "1.0", [], {**TRYING, "history": [{**SERVED, **STABLE_SERVED}]}, "aaa"),
    ],
)
def test_a_command_names_what_it_is_about(
    verb: Verb, wish: str | None, true: list[str], parts: dict[str, Any], named: str
) -> None:
    assert subject(verb, wish, *true, **parts) == named


def test_a_rollback_without_a_wish_is_done_when_the_last_one_was() -> None:
    done = {"type": "Stalled", "status": "True", "reason": ROLLED_BACK, "lastTransitionTime": NOW}

    answer = subject(Verb.ROLLBACK_TO, stable=STABLE, history=[SERVED], conditions=[done])

    assert isinstance(answer, Asked)
    assert answer.message == "already: 1.0 serves since the last rollback"


def given(story: Story, verb: Verb, wish: str | None = None) -> None:
    """The command that is meant is given, obeyed, and would not be given a second time."""
    named = SUBJECTS[verb](story.status, wish)
    assert isinstance(named, str)

    story.world.commands[verb] = f"{named}@2026-01-01T10:00:00Z"
    story.runs("1s")

    assert story.told("CommandIgnored") == 0
    assert SUBJECTS[verb](story.status, wish) != named


@pytest.mark.parametrize("verb", [Verb.PROMOTE, Verb.ABORT, Verb.PAUSE])
def test_the_plan_obeys_what_is_named_in_a_rollout(scenario: Callable[..., Story], verb: Verb) -> None:
    given(scenario(steps=[(10, "manual"), (50, "manual")]).serving("v1").apply("v2").until_weight(10), verb)


def test_the_plan_obeys_a_promotion_in_full(scenario: Callable[..., Story]) -> None:
    story = scenario(steps=[(10, "manual"), (50, "manual")]).serving("v1").apply("v2").until_weight(10)

    given(story, Verb.PROMOTE_FULL)

    assert story.runs("1m").weights == {"v2": 100}


def test_the_plan_obeys_a_rollback_to_what_served_before(scenario: Callable[..., Story]) -> None:
    story = scenario(steps=[]).serving("v1").apply("v2").settle().runs("20m")
    assert story.stable == "v2"

    given(story, Verb.ROLLBACK_TO, "v1")

    assert story.runs("1m").weights == {"v1": 100}


@pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.RESTART])
def test_the_plan_obeys_what_is_named_at_rest(scenario: Callable[..., Story], verb: Verb) -> None:
    given(scenario(steps=[(10, "manual")]).serving("v1"), verb)


def test_the_plan_obeys_an_abort_after_the_promotion(scenario: Callable[..., Story]) -> None:
    story = scenario(steps=[], rollout={"scaleDownDelay": "10m"}).serving("v1").apply("v2").until_phase("Watching")

    given(story, Verb.ABORT)

    assert story.settle().weights == {"v1": 100}
