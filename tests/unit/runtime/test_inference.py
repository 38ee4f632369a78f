"""Every request ends in exactly one count, of the status that the client gets and of the traffic that it belongs to."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any, cast

from tests.unit.runtime.fake_model import FakeModel, FakeWatchdog, rows

from tidegate_runtime.admission import Admission
from tidegate_runtime.counters import Counters
from tidegate_runtime.engine import Engine, Surroundings
from tidegate_runtime.inference import Inferring
from tidegate_runtime.interfaces import Kind
from tidegate_runtime.request import Request
from tidegate_runtime.settings import parse
from tidegate_runtime.shadow import ShadowSender

DEADLINE = 10.0


class Noting(Counters):
    """Also remembers each request that was counted."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[tuple[Kind, int]] = []

    def answered(self, kind: Kind, status: int, queue_s: float, compute_s: float, total_s: float) -> None:
        self.counted.append((kind, status))
        super().answered(kind, status, queue_s, compute_s, total_s)


def inferring(recorder: Noting, admission: Admission) -> Inferring:
    """Inference with a model that answers at once, on the running loop."""
    model, settings = FakeModel(), parse(["--bundle", "b"], {})
    model.gate.set()
    around = Surroundings(asyncio.get_running_loop(), settings, FakeWatchdog(), recorder, admission)
    return Inferring(model, Engine(model, None, around), settings, recorder, ShadowSender())


def failures(found: Inferring) -> int:
    return int(found.statistics.document("fake", "v1")["inference_stats"]["fail"]["count"])


def test_a_request_refused_before_it_is_read_is_counted_as_the_traffic_it_is() -> None:
    async def story() -> None:
        recorder, admission = Noting(), Admission(1)
        found = inferring(recorder, admission)
        assert found.refusal(Request()) is None
        admission.queued = 1
        pinned = Request()
        pinned.headers[b"x-tidegate-pinned"] = b"1"
        for request in (Request(), pinned):
            refusal = found.refusal(request)
            assert refusal is not None
            assert refusal.status == 429
        assert recorder.counted == [("requests", 429), ("pinned", 429)]
        assert failures(found) == 2

    asyncio.run(story())


class Unwritable:
    """A message that was made and cannot be written."""

    def encode(self, asked: object, outputs: object) -> Any:
        return self

    def SerializeToString(self) -> bytes:
        raise ValueError("more than 2 GiB")


class Refused:
    """A call that is refused."""

    def __init__(self) -> None:
        self.told: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    def refuse(self, error: Exception) -> None:
        self.told.set_result(error)


def counted_unwritable() -> tuple[str, list[tuple[Kind, int]], int]:
    """What a client is told whose answer cannot be written, and what is counted."""
    from tidegate_runtime.grpc_service import _Reply

    async def story() -> tuple[str, list[tuple[Kind, int]], int]:
        recorder, codec, call = Noting(), cast("Any", Unwritable()), Refused()
        found, reply = inferring(recorder, Admission(8)), _Reply(codec, codec, cast("Any", call))
        found.start(rows(1), reply, arrived=time.monotonic(), seconds=0.0, short=True, source=Request())
        error = await asyncio.wait_for(call.told, DEADLINE)
        return str(error), recorder.counted, failures(found)

    return asyncio.run(story())


def test_an_answer_over_grpc_is_good_when_it_is_written_and_not_before() -> None:
    # In a process of its own: the server's protocol and the public client's are the same names to protobuf.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as elsewhere:
        told, counted, failed = elsewhere.submit(counted_unwritable).result(60)
    assert told == "the model's outputs cannot be written as an answer"
    assert (counted, failed) == ([("requests", 500)], 1)
