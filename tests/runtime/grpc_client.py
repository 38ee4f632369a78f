"""A plain client of the gRPC port: the protocol's own messages, and the status of whatever is refused.

The messages are tritonclient's, generated from the protocol as Triton defines it: what they and the server's own
copy understand of each other is part of what is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import grpc
from tests.runtime.conftest import DEADLINE
from tritonclient.grpc import service_pb2 as messages

SERVICE = "/inference.GRPCInferenceService"
ALONE = (("grpc.use_local_subchannel_pool", 1),)  # a connection of its own, shared with no other channel
Metadata = Sequence[tuple[str, str]]


@dataclass
class Refusal(Exception):
    """A status other than OK."""

    code: str
    sentence: str
    trailing: Mapping[str, str]


class Client:
    """One channel."""

    def __init__(self, port: int) -> None:
        self.channel: Any = grpc.insecure_channel(f"127.0.0.1:{port}", options=ALONE)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.channel.close()

    def ask(self, method: str, raw: bytes, *, timeout: float = DEADLINE, metadata: Metadata = ()) -> bytes:
        """Send `raw` as it is to a method, and what came back; raises Refusal."""
        try:
            answer: bytes = self.channel.unary_unary(method)(raw, timeout=timeout, metadata=metadata)
        except grpc.RpcError as error:
            raise refusal(error) from None
        return answer

    def infer(self, request: Any, **more: Any) -> Any:
        return messages.ModelInferResponse.FromString(
            self.ask(f"{SERVICE}/ModelInfer", request.SerializeToString(), **more)
        )

    def begin(self, request: Any, timeout: float | None = None) -> Any:
        """The call of a request that is not waited for."""
        return self.channel.unary_unary(f"{SERVICE}/ModelInfer").future(request.SerializeToString(), timeout=timeout)


def refusal(error: Any) -> Refusal:
    return Refusal(error.code().name, error.details(), dict(error.trailing_metadata() or ()))


def refused(ask: Callable[[], Any]) -> Refusal:
    """What `ask` is refused with."""
    try:
        answer = ask()
    except Refusal as error:
        return error
    raise AssertionError(f"not refused: {answer!r:.200}")


def request(model: str = "fraud", **fields: Any) -> Any:
    """A request without tensors."""
    return messages.ModelInferRequest(model_name=model, **fields)


def typed(name: str, datatype: str, shape: Sequence[int], **contents: Any) -> Any:
    """A request of one tensor, its values in fields by type."""
    asked = request()
    asked.inputs.add(name=name, datatype=datatype, shape=shape, contents=contents)
    return asked


def raw(name: str, datatype: str, shape: Sequence[int], content: bytes) -> Any:
    """A request of one tensor, its values as bytes."""
    asked = request()
    asked.inputs.add(name=name, datatype=datatype, shape=shape)
    asked.raw_input_contents.append(content)
    return asked
