"""A call of ModelInfer as the logs of requests have it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from tests.unit.runtime.test_inference import DEADLINE, Noting, inferring

from tidegate.protocol import SERVICE
from tidegate.protocol.open_inference_pb2 import ModelInferRequest
from tidegate_runtime import grpc_log
from tidegate_runtime.admission import Admission
from tidegate_runtime.errors import RequestError
from tidegate_runtime.grpc_calls import Metadata, carry_out
from tidegate_runtime.grpc_log import Noted
from tidegate_runtime.grpc_service import InferenceService
from tidegate_runtime.health import Health
from tidegate_runtime.protection import Protection
from tidegate_runtime.reloading import Reloading
from tidegate_runtime.request_log import Answered
from tidegate_runtime.routes import Identity

BEGUN = -3600.0


@dataclass
class Log:
    """Remembers what it is given."""

    noted: list[Answered] = field(default_factory=list)

    def note(self, answered: Answered) -> None:
        self.noted.append(answered)


@dataclass
class OneCall:
    """A call that no server carries."""

    ended: asyncio.Future[bytes]
    metadata: Mapping[str, str] = field(default_factory=dict)
    peer: str = ""
    trailing: Metadata = ()
    abandon: Callable[[], None] | None = None
    noted: Noted | None = None
    waited: float = 0.0

    def seconds_left(self) -> float | None:
        return None

    def answer(self, message: bytes) -> None:
        assert self.noted is not None
        self.noted.end(200, len(message))
        self.ended.set_result(message)

    def refuse(self, error: RequestError) -> None:
        self.ended.set_exception(error)


class LongAgo:
    """Stands for the module time: when the call began."""

    @staticmethod
    def monotonic() -> float:
        return BEGUN


def test_how_long_a_message_took_to_come_counts_neither_as_waiting_nor_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_log, "time", LongAgo)
    x = ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 2])
    asked = ModelInferRequest(model_name="fake", inputs=[x], raw_input_contents=[bytes(8)]).SerializeToString()

    async def story() -> tuple[Answered, float]:
        log = Log()
        service = InferenceService(Health(), Protection(None, None, cast("Any", log), Reloading(())))
        service.serve(inferring(Noting(), Admission(8)), Identity("fake", ("v1",), "1"))
        method = service.methods()[f"/{SERVICE}/ModelInfer"]
        call: Any = OneCall(asyncio.get_running_loop().create_future())
        assert method.admit is not None
        method.admit(call)
        came = time.monotonic()
        carry_out(call, method.handle, asked)
        await asyncio.wait_for(call.ended, DEADLINE)
        return log.noted[0], came

    answered, came = asyncio.run(story())

    assert came <= answered.arrived <= answered.started
