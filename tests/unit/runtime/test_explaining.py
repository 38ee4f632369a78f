"""What an explanation leaves to others: it starts no run while a request of inference waits for one."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import numpy as np
from tests.unit.runtime.fake_model import FakeModel, FakeWatchdog

from tidegate_runtime import explain_counts
from tidegate_runtime.admission import Admission
from tidegate_runtime.counters import Counters
from tidegate_runtime.engine import Surroundings
from tidegate_runtime.errors import RequestError
from tidegate_runtime.explain_counts import ExplainCounts
from tidegate_runtime.explain_wish import wish
from tidegate_runtime.explaining import Explaining, Question
from tidegate_runtime.http import Connection
from tidegate_runtime.interfaces import Array
from tidegate_runtime.request import Request
from tidegate_runtime.settings import parse
from tidegate_runtime.slots import Slots

DEADLINE = 10.0
LOOKS = 5


class Answers:
    """A connection as far as an explanation goes."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.answered = asyncio.Event()

    def answer(self, status: int) -> None:
        self.statuses.append(status)
        self.answered.set()

    def refuse(self, error: RequestError) -> None:
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
    model: FakeModel, admission: Admission, counts: ExplainCounts, *flags: str, slots: Slots | None = None
) -> Explaining:
    settings = parse(["--bundle", "b", "--explain", "1", *flags], {})
    around = Surroundings(asyncio.get_running_loop(), settings, FakeWatchdog(), Counters(), admission)
    return Explaining(model, around, counts, slots or Slots(1))


def question(answers: Answers, **parameters: Any) -> Question:
    request = Request()
    request.arrived = time.monotonic()
    feeds: dict[str, Array] = {"x": np.arange(6, dtype=np.float32).reshape(3, 2)}
    return Question(
        feeds, wish(parameters), FakeModel().outputs, 0.0, lambda _: (b"", None),
        lambda connection, *_: cast("Answers", connection).answer(200), cast("Connection", answers), request,
    )  # fmt: skip


def test_it_starts_no_run_while_requests_wait_for_one() -> None:
    async def story() -> None:
        model, answers = ready(), Answers()
        admission = Crowded(model)
        explaining(model, admission, ExplainCounts()).start(question(answers))
        await asyncio.wait_for(answers.answered.wait(), DEADLINE)
        assert admission.runs_meanwhile == [0] * LOOKS
        assert answers.statuses == [200]
        assert model.runs

    asyncio.run(story())


def test_while_requests_wait_until_its_deadline_it_is_given_up_without_a_run() -> None:
    async def story() -> None:
        model, answers, admission, slots = ready(), Answers(), Admission(8), Told(1)
        admission.queued = 1
        found = explaining(model, admission, ExplainCounts(), "--request-timeout", "50ms", slots=slots)
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


def test_no_run_has_more_rows_than_the_warm_up_found_good() -> None:
    async def story() -> None:
        model, answers = ready(), Answers()
        model.most_together = 2
        explaining(model, Admission(8), ExplainCounts()).start(question(answers))
        await asyncio.wait_for(answers.answered.wait(), DEADLINE)
        assert max(model.runs) == 2
        assert model.threads == {"explain"}

    asyncio.run(story())


def test_a_run_that_fails_is_told_without_its_words() -> None:
    async def story() -> None:
        model, answers = ready(), Answers()
        poisoned = question(answers, baseline="zero")
        poisoned.feeds["x"][0, 0] = 666.0
        explaining(model, Admission(8), ExplainCounts()).start(poisoned)
        await asyncio.wait_for(answers.answered.wait(), DEADLINE)
        assert answers.statuses == [500]

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
