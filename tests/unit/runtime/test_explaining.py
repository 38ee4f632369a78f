"""What an explanation leaves to others: it starts no run while a request of inference waits for one."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, cast

import numpy as np
import pytest
from tests.unit.runtime.fake_model import POISON, FakeModel, FakeWatchdog
from tests.waiting import wait_until

from tidegate_runtime import explain_counts
from tidegate_runtime.admission import Admission
from tidegate_runtime.batching import decide
from tidegate_runtime.counters import Counters
from tidegate_runtime.engine import Surroundings
from tidegate_runtime.errors import RequestError
from tidegate_runtime.explain_counts import ExplainCounts
from tidegate_runtime.explain_wish import wish
from tidegate_runtime.explaining import Explaining, Question
from tidegate_runtime.health import Health, Phase
from tidegate_runtime.http import Connection
from tidegate_runtime.interfaces import Array, Lane
from tidegate_runtime.request import Request
from tidegate_runtime.settings import parse
from tidegate_runtime.slots import Slots

DEADLINE = 10.0
LOOKS = 5


class Answers:
    """A connection as far as an explanation goes."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.message = ""
        self.answered = asyncio.Event()

    def answer(self, status: int) -> None:
        self.statuses.append(status)
        self.answered.set()

    def refuse(self, error: RequestError) -> None:
        self.message = error.message
        self.answer(error.status)


class Told(Slots):
    """Tells when one is given back for good."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.given_back = asyncio.Event()

    def give_back(self, slot: int) -> None:
        super().give_back(slot)
        self.given_back.set()


class Crowded(Admission):
    """Requests of inference wait, for as long as it has been looked at a few times."""

    def __init__(self, model: FakeModel) -> None:
        super().__init__(8)
        self._model = model
        self.runs_meanwhile: list[int] = []

    @property
    def queued(self) -> int:
        if len(self.runs_meanwhile) == LOOKS:
            return 0
        self.runs_meanwhile.append(len(self._model.runs))
        return 1

    @queued.setter
    def queued(self, value: int) -> None:
        pass


def ready() -> FakeModel:
    model = FakeModel()
    model.gate.set()
    return model


def explaining(
    model: FakeModel,
    admission: Admission | None = None,
    counts: ExplainCounts | None = None,
    *flags: str,
    slots: Slots | None = None,
    watchdog: FakeWatchdog | None = None,
    health: Health | None = None,
) -> Explaining:
    settings = parse(["--bundle", "b", "--explain", "1", *flags], {})
    watchdog = watchdog or FakeWatchdog()
    around = Surroundings(asyncio.get_running_loop(), settings, watchdog, Counters(), admission or Admission(8))
    batching = decide(model, settings.max_batch_size)
    return Explaining(model, batching, around, health or Health(watchdog), counts or ExplainCounts(), slots or Slots(1))


def question(answers: Answers, *, seconds: float = 0.0, **parameters: Any) -> Question:
    request = Request()
    request.arrived = time.monotonic()
    feeds: dict[str, Array] = {"x": np.arange(6, dtype=np.float32).reshape(3, 2)}
    return Question(
        feeds, wish(parameters), FakeModel().outputs, seconds, lambda _: (b"", None),
        lambda connection, *_: cast("Answers", connection).answer(200), cast("Connection", answers), request,
    )  # fmt: skip


def test_it_starts_no_run_while_requests_wait_for_one() -> None:
    async def story() -> None:
        model, answers = ready(), Answers()
        admission = Crowded(model)
        explaining(model, admission).start(question(answers))
        await asyncio.wait_for(answers.answered.wait(), DEADLINE)
        assert admission.runs_meanwhile == [0] * LOOKS
        assert answers.statuses == [200]
        assert model.runs

    asyncio.run(story())


def test_while_requests_wait_until_its_deadline_it_is_given_up_without_a_run() -> None:
    async def story() -> None:
        model, answers, admission, slots = ready(), Answers(), Admission(8), Told(1)
        admission.queued = 1
        found = explaining(model, admission, None, "--request-timeout", "50ms", slots=slots)
        found.start(question(answers))
        await asyncio.wait_for(answers.answered.wait(), DEADLINE)
        await asyncio.wait_for(slots.given_back.wait(), DEADLINE)  # its thread has noticed
        assert (answers.statuses, model.runs) == ([504], [])

    asyncio.run(story())


def test_where_the_queue_of_inference_is_full_nothing_is_explained() -> None:
    async def story() -> None:
        admission, counts = Admission(1), ExplainCounts()
        found = explaining(ready(), admission, counts)
        assert found.refusal(Request()) is None
        admission.queued = 1
        refusal = found.refusal(Request())
        assert refusal is not None
        assert refusal.status == 429
        assert explain_counts.codes(counts.counts()) == {"429": 1}

    asyncio.run(story())


@pytest.mark.parametrize(
    ("costs", "rows"),
    [
        (((1, 1e-5), (2, 1.2e-5), (8, 8e-5)), 2),
        (((1, 1e-5), (2, 2e-5), (8, 8e-5)), 1),  # NoGain
        (((1, 1e-5),), 1),  # NotMeasured
    ],
)
def test_no_run_has_more_rows_than_the_warm_up_found_good(costs: tuple[tuple[int, float], ...], rows: int) -> None:
    async def story() -> None:
        model, answers, watchdog = ready(), Answers(), FakeWatchdog()
        model.costs = costs
        asked = question(answers)
        explaining(model, watchdog=watchdog).start(asked)
        await asyncio.wait_for(answers.answered.wait(), DEADLINE)
        assert max(model.runs) == rows
        assert model.threads == {"explain"}
        [lane] = watchdog.lanes
        assert lane.deadlines == [asked.deadline] * len(model.runs)

    asyncio.run(story())


def test_a_run_that_fails_is_told_without_its_words() -> None:
    async def story() -> None:
        model, answers = ready(), Answers()
        poisoned = question(answers, baseline="zero")
        poisoned.feeds["x"][0, 0] = POISON
        explaining(model).start(poisoned)
        await asyncio.wait_for(answers.answered.wait(), DEADLINE)
        assert answers.statuses == [500]
        assert answers.message
        assert "/secret/path" not in answers.message
        assert "poisoned" not in answers.message

    asyncio.run(story())


@pytest.mark.parametrize(
    ("seconds", "status", "sentence"),
    [
        (0.05, 408, "the request's own timeout ran out: ask for fewer rows"),
        (0.0, 504, "the explanation took longer than 0.1 s: ask for fewer rows"),
    ],
)
def test_whose_time_ran_out_is_told_also_where_the_watchdog_ends_the_run_first(
    seconds: float, status: int, sentence: str
) -> None:
    async def story() -> None:
        model, answers = ready(), Answers()
        asked = question(answers, seconds=seconds)

        def ended_at_the_deadline() -> None:
            wait_until(lambda: time.monotonic() > asked.deadline, "the deadline did not come", DEADLINE)
            raise RuntimeError("Exiting due to terminate flag being set to true.")

        model.entered = ended_at_the_deadline
        explaining(model, None, None, "--request-timeout", "100ms").start(asked)
        for thread in threading.enumerate():  # the loop is held up until the thread has handed over what it found
            if thread.name == "explain":
                thread.join(DEADLINE)
        await asyncio.wait_for(answers.answered.wait(), DEADLINE)
        assert answers.statuses == [status]
        assert sentence in answers.message

    asyncio.run(story())


def refused(found: Explaining, answers: Answers) -> RequestError:
    with pytest.raises(RequestError) as caught:
        found.start(question(answers))
    return caught.value


def test_while_the_server_ends_no_explanation_begins() -> None:
    async def story() -> None:
        health, counts, model = Health(), ExplainCounts(), ready()
        found = explaining(model, None, counts, health=health)
        health.phase = Phase.READY
        assert found.refusal(Request()) is None
        health.phase = Phase.DRAINING
        refusal = found.refusal(Request())
        assert refusal is not None
        assert (refusal.status, refusal.message) == (503, "this server is ending, and begins no more explanations")
        assert refused(found, Answers()).status == 503  # its body was read while the end began
        assert model.runs == []

    asyncio.run(story())


class NoRoom(FakeWatchdog):
    """There is no memory for one more lane."""

    def lane(self) -> Lane:
        raise MemoryError


def test_without_room_for_a_lane_it_is_refused_and_its_slot_is_free_again() -> None:
    async def story() -> None:
        slots = Slots(1)
        assert refused(explaining(ready(), slots=slots, watchdog=NoRoom()), Answers()).status == 503
        assert slots.free

    asyncio.run(story())


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()], ids=repr)
def test_without_room_for_a_thread_it_is_refused_and_the_next_one_is_made(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        watchdog, answers = FakeWatchdog(), Answers()
        found = explaining(ready(), watchdog=watchdog)

        def start(_: threading.Thread) -> None:
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            assert refused(found, answers).status == 503
        found.start(question(answers))
        await asyncio.wait_for(answers.answered.wait(), DEADLINE)
        assert answers.statuses == [200]
        assert len(watchdog.lanes) == 1  # the first one's

    asyncio.run(story())


def test_the_counts_of_processes_add_up() -> None:
    one, other = ExplainCounts(), ExplainCounts()
    for counts, seconds in ((one, 0.005), (other, 0.5), (other, 100.0)):
        counts.answered(200, seconds)
    other.answered(429, 0.0)

    both = {name: one.counts().get(name, 0) + other.counts()[name] for name in other.counts()}

    durations = explain_counts.durations(both)
    assert explain_counts.codes(both) == {"200": 3, "429": 1}
    assert durations is not None
    assert durations.sum == 100.505
    assert [count for count in durations.counts if count] == [1, 1, 1]
    assert explain_counts.durations({}) is None
