from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.unit.cluster.virtual_time import now, run

from tidegate.cluster.errors import AlreadyExists, ApiDown, ClusterError, NamespaceTerminating, Throttled
from tidegate.cluster.events import NOTE_LIMIT, SAME_SECONDS, WAITING, Recorder, event_object
from tidegate.plan.wanted import Event

Object = dict[str, Any]
CR: Object = {
    "apiVersion": "serving.tidegate.io/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"namespace": "ns", "name": "fraud", "uid": "u1"},
}
PROMOTED = Event("Normal", "Promoted", "version 2 serves", "abc123")
REFUSED = Event("Warning", "QuotaExceeded", "exceeded quota: small", "abc123")


@dataclass
class Posts:
    """An API server that takes events, after `failures`."""

    failures: list[ClusterError] = field(default_factory=list)
    taken: list[Object] = field(default_factory=list)
    asked: int = 0
    hang: bool = False

    async def __call__(self, event: Object) -> Object:
        self.asked += 1
        if self.hang:
            await asyncio.sleep(1_000_000)
        if self.failures:
            raise self.failures.pop(0)
        self.taken.append(event)
        return event


async def settled(recorder: Recorder, seconds: float = 30) -> None:
    posting = asyncio.create_task(recorder.run())
    await asyncio.sleep(seconds)
    posting.cancel()


def posted(posts: Posts, *events: Event, about: Object = CR) -> tuple[list[Object], Counter[str]]:
    counted: Counter[str] = Counter()

    async def story() -> None:
        recorder = Recorder(posts, "pod-1", lambda result: counted.update([result]))
        for event in events:
            recorder.record(about, event)
        await settled(recorder)

    run(story())
    return posts.taken, counted


def test_an_event_says_what_of_whom_by_whom() -> None:
    [event], counted = posted(Posts(), PROMOTED)

    assert event["reason"] == "Promoted"
    assert event["note"] == "version 2 serves"
    assert event["type"] == "Normal"
    assert event["regarding"] == {
        "apiVersion": "serving.tidegate.io/v1alpha1", "kind": "ModelDeployment", "namespace": "ns", "name": "fraud",
        "uid": "u1",
    }  # fmt: skip
    assert event["metadata"]["namespace"] == "ns"
    assert event["metadata"]["labels"] == {"serving.tidegate.io/revision": "abc123"}
    assert (event["reportingController"], event["reportingInstance"]) == ("serving.tidegate.io/operator", "pod-1")
    assert counted == {"posted": 1}


def test_the_same_thing_is_not_said_again_soon() -> None:
    events, counted = posted(Posts(), REFUSED, REFUSED, REFUSED)

    assert len(events) == 1
    assert counted == {"posted": 1, "repeated": 2}


def test_what_went_well_is_said_each_time() -> None:
    events, counted = posted(Posts(), PROMOTED, PROMOTED)

    assert len(events) == 2
    assert counted == {"posted": 2}


def test_the_same_warning_about_another_revision_is_another_thing() -> None:
    events, _ = posted(Posts(), REFUSED, replace(REFUSED, revision="another"))

    assert len(events) == 2


def test_another_reason_message_or_object_is_another_thing() -> None:
    async def story() -> int:
        posts = Posts()
        recorder = Recorder(posts, "p")
        other = {**CR, "metadata": {**CR["metadata"], "uid": "u2"}}
        for about, reason, message in ((CR, "A", "x"), (CR, "A", "y"), (CR, "B", "x"), (other, "A", "x")):
            recorder.record(about, Event("Warning", reason, message))
        await settled(recorder)
        return len(posts.taken)

    assert run(story()) == 4


def test_after_ten_minutes_it_may_be_said_again() -> None:
    async def story() -> int:
        posts = Posts()
        recorder = Recorder(posts, "p")
        for pause in (SAME_SECONDS - 1, 2):
            recorder.record(CR, REFUSED)
            await settled(recorder, pause)
        recorder.record(CR, REFUSED)
        await settled(recorder)
        return len(posts.taken)

    assert run(story()) == 2


def test_what_nobody_takes_is_thrown_away_and_counted() -> None:
    async def story() -> tuple[float, Counter[str]]:
        counted: Counter[str] = Counter()
        recorder = Recorder(Posts(hang=True), "p", lambda result: counted.update([result]))
        for number in range(WAITING + 5):
            recorder.record(CR, Event("Normal", "A", str(number)))
        return now(), counted

    waited, counted = run(story())

    assert waited == 0
    assert counted == {"dropped": 5}


def test_a_server_in_trouble_is_asked_again() -> None:
    events, counted = posted(Posts([ApiDown("down"), Throttled("later", retry_after=9)]), PROMOTED)

    assert len(events) == 1
    assert counted == {"posted": 1}


def test_an_event_is_given_up_after_three_attempts() -> None:
    posts = Posts([ApiDown("down")] * 3)
    events, counted = posted(posts, PROMOTED, Event("Normal", "Other", "x"))

    assert [event["reason"] for event in events] == ["Other"]
    assert counted == {"dropped": 1, "posted": 1}


def test_an_attempt_that_took_effect_unheard_is_no_failure() -> None:
    _, counted = posted(Posts([ApiDown("no answer"), AlreadyExists("it is there")]), PROMOTED)

    assert counted == {"posted": 1}


def test_every_attempt_has_the_same_name_and_every_event_its_own() -> None:
    names = {event_object(CR, PROMOTED, "p")["metadata"]["name"] for _ in range(3)}

    assert len(names) == 3


def test_a_dying_namespace_is_not_argued_with() -> None:
    posts = Posts([NamespaceTerminating("going")])
    _, counted = posted(posts, PROMOTED)

    assert posts.asked == 1
    assert counted == {"dropped": 1}


@pytest.mark.parametrize("message", ["x" * 5000, "é" * 5000, "模" * 5000])
def test_a_note_is_never_longer_than_the_api_takes(message: str) -> None:
    note = event_object(CR, Event("Warning", "A", message), "p")["note"]

    assert NOTE_LIMIT - 6 <= len(note.encode()) <= NOTE_LIMIT
    assert note.endswith("…")


def test_a_long_name_leaves_room_for_the_events_own() -> None:
    about = {**CR, "metadata": {"namespace": "ns", "name": "x" * 253}}

    assert len(event_object(about, PROMOTED, "p")["metadata"]["name"]) <= 253
