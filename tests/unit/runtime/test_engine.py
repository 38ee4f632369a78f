"""Which requests share a run, where it is made, and that one bad request spoils nobody else's answer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.runtime.fake_model import POISON, FakeModel, FakeWatchdog, rows
from tests.waiting import wait_until

from tidegate_runtime import engine
from tidegate_runtime.admission import Admission
from tidegate_runtime.batcher import Call
from tidegate_runtime.costs import STALL, Costs
from tidegate_runtime.counters import Counters
from tidegate_runtime.engine import Engine, Surroundings
from tidegate_runtime.errors import RunFailed, Throttled, TooSlow, Unavailable
from tidegate_runtime.interfaces import Array, Lane, Objection
from tidegate_runtime.settings import parse

LONG = ((1, 0.01), (8, 0.02))
DEADLINE = 10.0


class Bench:
    """An engine on the running loop, and the calls given to it."""

    def __init__(self, model: FakeModel, *flags: str, room: int = 8) -> None:
        self.model = model
        self.watchdog = FakeWatchdog()
        self.recorder = Counters()
        self.admission = Admission(room)
        settings = parse(["--bundle", "b", "--intra-op", "1000", *flags], {})
        loop = asyncio.get_running_loop()
        self.engine = Engine(model, None, Surroundings(loop, settings, self.watchdog, self.recorder, self.admission))
        self.done: list[Call] = []
        self._finished = asyncio.Event()
        self._expected = 0

    def submit(
        self, feeds: dict[str, Any], *, key: object = None, deadline: float = DEADLINE, apart: bool = False
    ) -> Call:
        now = time.monotonic()
        call = Call(feeds, len(feeds["x"]), key, self._answered, now, now + deadline, apart=apart)
        self.engine.submit(call)
        return call

    def _answered(self, call: Call) -> None:
        self.done.append(call)
        if len(self.done) >= self._expected:
            self._finished.set()

    async def answers(self, count: int) -> list[Call]:
        self._expected = count
        if len(self.done) < count:
            self._finished.clear()
            await asyncio.wait_for(self._finished.wait(), DEADLINE)
        return self.done

    async def until_it_runs(self, model: FakeModel) -> None:
        entered = asyncio.Event()
        loop = asyncio.get_running_loop()

        def tell() -> None:
            loop.call_soon_threadsafe(entered.set)

        model.entered = tell
        await asyncio.wait_for(entered.wait(), DEADLINE)


def on_loop(test: Callable[[], Any]) -> None:
    asyncio.run(test())


def open_model(**more: Any) -> FakeModel:
    model = FakeModel(**more)
    model.gate.set()
    return model


def test_short_runs_of_one_pass_of_the_loop_are_made_together_on_the_loop() -> None:
    async def story() -> None:
        bench = Bench(open_model())
        calls = [bench.submit(rows(1, value)) for value in (1.0, 2.0, 3.0)]
        await bench.answers(3)
        assert bench.model.runs == [3]
        assert bench.model.threads == {threading.current_thread().name}
        assert [call.outputs[0][0, 0] for call in calls] == [2.0, 4.0, 6.0]
        assert {(call.rows_together, call.requests_together) for call in calls} == {(3, 3)}

    on_loop(story)


@pytest.mark.parametrize(("seconds", "on_the_loop"), [(0.0019, True), (0.0021, False)])
def test_with_one_thread_for_runs_those_of_two_milliseconds_are_made_on_the_loop(
    seconds: float, on_the_loop: bool
) -> None:
    async def story() -> None:
        bench = Bench(open_model(costs=((1, seconds),)))
        bench.submit(rows(1))
        await bench.answers(1)
        assert (bench.model.threads == {threading.current_thread().name}) is on_the_loop

    on_loop(story)


def test_what_short_runs_leave_no_time_for_is_the_oldest_again_after_a_look_at_the_sockets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = open_model(costs=((1, 1e-6),))
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + len(model.runs)))

    async def story() -> None:
        bench = Bench(model, "--max-batch-size", "1")
        seen: list[tuple[int, int]] = []
        calls = [bench.submit(rows(1, value)) for value in (1.0, 2.0, 3.0)]
        asyncio.get_running_loop().call_soon(lambda: seen.append((len(bench.done), bench.admission.queued)))
        await asyncio.sleep(0)
        bench.engine.cancel(calls[1])
        calls.append(bench.submit(rows(1, 4.0)))
        await bench.answers(3)
        assert seen == [(1, 2)]
        assert bench.done == [calls[0], calls[2], calls[3]]
        assert (bench.admission.queued, bench.admission.in_flight) == (0, 0)

    on_loop(story)


@pytest.mark.parametrize(
    ("waiting", "cores", "runs"),
    [
        (8, 1, 5),  # 2 ms
        (60, 1, 8),  # an eighth of the 24 ms that wait
        (200, 1, 20),  # never more than 8 ms
        (60, 2, 5),  # workers wait for the loop
    ],
)
def test_the_more_waits_for_one_core_the_longer_are_the_turns_of_short_runs(
    monkeypatch: pytest.MonkeyPatch, waiting: int, cores: int, runs: int
) -> None:
    model = open_model(costs=((1, 0.0004),))
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: len(model.runs) * 0.0004))
    monkeypatch.setattr("tidegate_runtime.settings.usable_cores", lambda: float(cores))

    async def story() -> None:
        bench = Bench(model, "--max-batch-size", "1", "--intra-op", "1", room=waiting)
        for _ in range(waiting):
            bench.submit(rows(1))
        await asyncio.sleep(0)
        assert len(bench.done) == runs
        await bench.answers(waiting)
        assert (bench.admission.queued, bench.admission.in_flight) == (0, 0)

    on_loop(story)


def test_a_call_whose_time_is_up_in_the_turn_of_short_runs_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_model(costs=((1, 0.0004),))
    began = time.monotonic()
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: began + 0.0004 * len(model.runs)))

    async def story() -> None:
        bench = Bench(model, "--max-batch-size", "1")
        first, late, last = (bench.submit(rows(1, value), deadline=left) for value, left in ((1, 9), (2, 0), (3, 9)))
        late.deadline = began + 0.0003
        await bench.answers(3)
        assert isinstance(late.error, TooSlow)
        assert [call.error for call in (first, last)] == [None, None]
        assert model.runs == [1, 1]
        assert (bench.admission.queued, bench.admission.in_flight) == (0, 0)

    on_loop(story)


def test_the_next_request_is_looked_for_from_the_last_answer_until_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    poll = SimpleNamespace(asked=lambda: told.append("asked"), answered=lambda: told.append("answered"))
    monkeypatch.setattr(engine, "BusyPoll", lambda _loop: poll)

    async def story() -> None:
        bench = Bench(open_model(), "--max-batch-size", "1")
        bench.submit(rows(1))
        bench.submit(rows(1))
        bench.submit(rows(1), key="on a thread", apart=True)
        await bench.answers(3)
        assert told == ["asked", "answered"]
        bench.submit(rows(1))
        await bench.answers(4)
        assert told == ["asked", "answered", "asked", "answered"]

    on_loop(story)


def test_a_long_run_is_made_on_a_thread_and_what_waits_meanwhile_shares_the_next() -> None:
    async def story() -> None:
        bench = Bench(FakeModel(costs=LONG))
        bench.submit(rows(1))
        await bench.until_it_runs(bench.model)
        for _ in range(3):
            bench.submit(rows(2))
        assert bench.admission.queued == 3
        bench.model.gate.set()
        await bench.answers(4)
        assert bench.model.runs == [1, 6]
        assert bench.model.threads == {"worker"}
        assert (bench.admission.queued, bench.admission.in_flight) == (0, 0)

    on_loop(story)


def test_what_has_run_is_answered_where_no_thread_can_be_started_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        monkeypatch.setattr("tidegate_runtime.engine.Worker", none_left)
        bench = Bench(open_model())
        short = bench.submit(rows(1))
        bench.submit(rows(1), key="long", apart=True)
        assert await bench.answers(1) == [short]

    on_loop(story)


def test_a_batch_never_has_more_rows_than_its_limit_nor_two_shapes() -> None:
    async def story() -> None:
        bench = Bench(open_model(), "--max-batch-size", "4")
        for count, key in ((3, "a"), (1, "b"), (1, "a"), (2, "a"), (5, "a")):
            bench.submit(rows(count), key=None if key == "a" else key)
        await bench.answers(5)
        assert sorted(bench.model.runs) == [1, 2, 4, 5]

    on_loop(story)


@pytest.mark.parametrize(
    ("model", "flags"),
    [
        (FakeModel(objection=Objection("RowsDepend", "because")), ()),
        (FakeModel(), ("--max-batch-size", "1")),
        (FakeModel(costs=((1, 1e-5), (8, 8e-5))), ()),
    ],
    ids=["rows depend on each other", "switched off", "no gain"],
)
def test_requests_are_not_joined_where_they_must_not_or_need_not(model: FakeModel, flags: tuple[str, ...]) -> None:
    async def story() -> None:
        model.gate.set()
        bench = Bench(model, *flags)
        for _ in range(3):
            bench.submit(rows(1))
        await bench.answers(3)
        assert model.runs == [1, 1, 1]

    on_loop(story)


def test_a_call_that_stays_apart_shares_no_run_waits_for_nobody_and_teaches_nothing() -> None:
    async def story() -> None:
        bench = Bench(open_model(), "--max-batch-delay", "10s", "--max-batch-size", "3")
        bench.submit(rows(2), apart=True)
        bench.submit(rows(2), apart=True)
        await bench.answers(2)
        assert bench.model.runs == [2, 2]
        assert bench.model.threads == {"worker"}
        for apart in (False, True, False, False):
            bench.submit(rows(1), apart=apart)
        await bench.answers(6)
        assert sorted(bench.model.runs) == [1, 2, 2, 3]

    on_loop(story)


class Dropping(FakeModel):
    """Gives one row too few when there are several, as a graph does that drops rows it finds twice."""

    def run(self, feeds: dict[str, Array], lane: Lane) -> list[Array]:
        return [array[: max(1, len(array) - 1)] for array in super().run(feeds, lane)]


def test_answers_that_do_not_have_a_row_for_each_row_are_never_cut_up(capsys: pytest.CaptureFixture[str]) -> None:
    async def story() -> None:
        model = Dropping()
        model.gate.set()
        bench = Bench(model)
        calls = [bench.submit(rows(1, value)) for value in (1.0, 2.0, 3.0)]
        await bench.answers(3)
        assert model.runs == [3, 1, 1, 1]
        assert [call.outputs[0].tolist() for call in calls] == [[[2.0, 2.0]], [[4.0, 4.0]], [[6.0, 6.0]]]

    on_loop(story)
    assert "2 rows came out of a run of 3" in capsys.readouterr().err


def test_a_call_whose_time_is_up_before_its_turn_is_not_run() -> None:
    async def story() -> None:
        bench = Bench(open_model())
        late, good = bench.submit(rows(1), deadline=-0.001), bench.submit(rows(2))
        await bench.answers(2)
        assert isinstance(late.error, TooSlow)
        assert good.error is None
        assert bench.model.runs == [2]
        assert (bench.admission.queued, bench.admission.in_flight) == (0, 0)

    on_loop(story)


def test_one_bad_request_in_a_batch_fails_alone_and_tells_no_path(capsys: pytest.CaptureFixture[str]) -> None:
    async def story() -> None:
        bench = Bench(open_model())
        good, bad, other = (bench.submit(rows(1, value)) for value in (1.0, POISON, 3.0))
        await bench.answers(3)
        assert good.error is None
        assert other.error is None
        assert other.outputs[0][0, 0] == 6.0
        assert isinstance(bad.error, RunFailed)
        assert (good.rows_together, good.requests_together) == (1, 1)
        assert "secret" not in bad.error.message

    on_loop(story)
    assert "poisoned" in capsys.readouterr().err


def test_after_a_failed_batch_every_run_is_counted_by_itself_and_only_good_ones_teach(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def story() -> None:
        bench = Bench(open_model())
        before = bench.engine._costs.predict(None, 3)
        for value in (POISON, 2.0, 3.0):
            bench.submit(rows(1, value))
        await bench.answers(3)
        assert bench.model.runs == [3, 1, 1, 1]
        document = bench.engine.statistics.document("fake", "v1")
        assert document["execution_count"] == 2
        assert [(size["batch_size"], size["compute_infer"]["count"]) for size in document["batch_stats"]] == [(1, 2)]
        assert (sum(bench.recorder.batch_rows.counts), bench.recorder.batch_rows.sum) == (4, 6)
        assert bench.engine._costs.predict(None, 3) == before

    on_loop(story)
    assert capsys.readouterr().err


def test_more_rows_than_were_ever_run_go_to_a_thread() -> None:
    async def story() -> None:
        bench = Bench(open_model())
        bench.submit(rows(100))
        await bench.answers(1)
        assert bench.model.threads == {"worker"}

    on_loop(story)


def test_a_full_queue_and_a_stuck_run_refuse() -> None:
    async def story() -> None:
        bench = Bench(open_model())
        for _ in range(8):
            bench.submit(rows(1))
        with pytest.raises(Throttled):
            bench.submit(rows(1))
        await bench.answers(8)
        bench.watchdog.stuck = True
        with pytest.raises(Unavailable):
            bench.submit(rows(1))

    on_loop(story)


def test_a_call_whose_client_left_is_never_run_or_never_answered() -> None:
    async def story() -> None:
        bench = Bench(FakeModel(costs=LONG))
        running = bench.submit(rows(1))
        await bench.until_it_runs(bench.model)
        waiting, kept = bench.submit(rows(2)), bench.submit(rows(4))
        bench.engine.cancel(running)
        bench.engine.cancel(waiting)
        bench.engine.cancel(waiting)
        bench.model.gate.set()
        assert await bench.answers(1) == [kept]
        assert bench.model.runs == [1, 4]
        assert (bench.admission.queued, bench.admission.in_flight) == (0, 0)

    on_loop(story)


def test_the_sweep_answers_what_waited_too_long_and_what_runs_too_long_once() -> None:
    async def story() -> None:
        bench = Bench(FakeModel(costs=LONG), "--queue-timeout", "5s")
        running = bench.submit(rows(1), deadline=8.0)
        await bench.until_it_runs(bench.model)
        waiting, short = bench.submit(rows(1)), bench.submit(rows(1), deadline=2.0)
        now = time.monotonic()
        bench.engine.sweep(now + 3)
        assert isinstance(short.error, TooSlow)
        bench.engine.sweep(now + 6)
        assert isinstance(waiting.error, Throttled)
        bench.engine.sweep(now + 9)
        bench.engine.sweep(now + 9)
        assert isinstance(running.error, TooSlow)
        assert bench.done == [short, waiting, running]
        assert (bench.admission.queued, bench.admission.in_flight) == (0, 0)
        bench.model.gate.set()
        after = bench.submit(rows(1))
        assert (await bench.answers(4))[-1] is after

    on_loop(story)


def begun(model: FakeModel) -> threading.Semaphore:
    """Released by each run of the model when it begins."""
    runs = threading.Semaphore(0)
    model.entered = runs.release
    return runs


def test_a_worker_goes_on_with_what_is_full_already_while_the_loop_is_busy() -> None:
    async def story(most: str, together: int, key: object) -> None:
        model = FakeModel(costs=LONG)
        runs, bench = begun(model), Bench(model, "--max-batch-size", most)
        for _ in range(1 + 2 * together):
            bench.submit(rows(1), key=key)
            await asyncio.sleep(0)  # a pass of the loop
        assert bench.admission.queued == 2 * together
        model.gate.set()
        assert runs.acquire(timeout=DEADLINE)
        assert runs.acquire(timeout=DEADLINE)  # the loop, which is here, had no part in it
        await bench.answers(1 + 2 * together)
        assert model.runs == [1, together, together]
        assert (bench.admission.queued, bench.admission.in_flight) == (0, 0)

    for most, together, key in (("1", 1, None), ("1", 1, "shape"), ("2", 2, None)):
        asyncio.run(story(most, together, key))


@pytest.mark.parametrize(
    ("most", "keys", "runs"),
    [("8", (None, None), [1, 2]), ("2", ("a", "b", "a"), [1, 2, 1])],
    ids=["more rows", "others of its shape"],
)
def test_what_may_yet_be_joined_by_others_waits_for_a_free_worker(
    most: str, keys: tuple[object, ...], runs: list[int]
) -> None:
    async def story() -> None:
        bench = Bench(FakeModel(costs=LONG), "--max-batch-size", most)
        bench.submit(rows(1))
        await bench.until_it_runs(bench.model)
        for key in keys:
            bench.submit(rows(1), key=key)
            await asyncio.sleep(0)  # a pass of the loop
        bench.model.gate.set()
        await bench.answers(1 + len(keys))
        assert bench.model.runs == runs

    on_loop(story)


def test_what_is_put_ahead_is_in_the_queue_until_a_worker_takes_it() -> None:
    async def story() -> None:
        bench = Bench(FakeModel(costs=LONG), "--max-batch-size", "1", "--queue-timeout", "5s")
        first = bench.submit(rows(1))
        await bench.until_it_runs(bench.model)
        left = bench.submit(rows(2))
        await asyncio.sleep(0)
        assert (left.taken, bench.admission.queued, bench.admission.in_flight) == (False, 1, 2)
        bench.engine.cancel(left)
        assert (bench.admission.queued, bench.admission.in_flight) == (0, 1)
        bench.model.gate.set()
        await bench.answers(1)
        bench.model.gate.clear()
        second = bench.submit(rows(3))
        await bench.until_it_runs(bench.model)
        waited = bench.submit(rows(4))
        await asyncio.sleep(0)
        bench.engine.sweep(time.monotonic() + 6)
        assert (waited.taken, type(waited.error), bench.admission.queued) == (False, Throttled, 0)
        bench.model.gate.set()
        last = bench.submit(rows(5))
        assert await bench.answers(4) == [first, waited, second, last]
        assert bench.model.runs == [1, 3, 5]
        assert (bench.admission.queued, bench.admission.in_flight) == (0, 0)

    on_loop(story)


def test_a_worker_does_not_begin_what_is_late_though_no_sweep_has_seen_it() -> None:
    async def story() -> None:
        model = FakeModel(costs=LONG)
        runs, bench = begun(model), Bench(model, "--max-batch-size", "1")
        bench.submit(rows(1))
        await asyncio.sleep(0)
        assert runs.acquire(timeout=DEADLINE)
        late = bench.submit(rows(2), deadline=0.5)
        await asyncio.sleep(0)
        assert [batch.calls for batch in bench.engine._ahead] == [[late]]
        wait_until(lambda: time.monotonic() > late.deadline, "its time is up")
        model.gate.set()
        await bench.answers(2)
        assert (type(late.error), model.runs) == (TooSlow, [1])

    on_loop(story)


def test_with_a_delay_a_free_worker_waits_for_more_rows() -> None:
    async def story() -> None:
        bench = Bench(open_model(), "--max-batch-delay", "300ms")
        bench.submit(rows(1))
        for _ in range(5):  # passes of the loop
            await asyncio.sleep(0)
        bench.submit(rows(1))
        await bench.answers(2)
        assert bench.model.runs == [2]

    on_loop(story)


def test_a_run_that_stalls_is_believed_at_once_and_small_noise_is_not() -> None:
    costs = Costs(((1, 1e-5), (4, 2e-5)), None)
    assert costs.predict(None, 3) == 2e-5
    assert costs.predict(None, 100) is None
    costs.ran(None, 1, 5e-3)
    assert costs.predict(None, 1) == pytest.approx(1.3e-5)
    costs.ran(None, 1, 2 * STALL)
    assert costs.predict(None, 1) == 2 * STALL
    assert costs.short_rows(None, 8) == 7
    assert costs.short_rows("other", 8) == 0
