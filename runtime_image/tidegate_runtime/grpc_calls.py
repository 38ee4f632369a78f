"""Calls and methods as the services see them: the same whichever server carries them.

A method is a function that gets a call and the bytes of a message.  It answers at once or keeps the call and answers
later, on the loop; what it raises is the client's refusal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from google.protobuf.message import DecodeError, Message

from tidegate_runtime.errors import BadRequest, RequestError, Throttled
from tidegate_runtime.grpc_log import Noted
from tidegate_runtime.grpc_source import code_of

LOG = logging.getLogger(__name__)
OK: Final = 0
UNIMPLEMENTED: Final = 501  # as HTTP says it
NUMBERS: Final = {
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "UNAUTHENTICATED": 16,
}
PUSHBACK: Final = "grpc-retry-pushback-ms"  # clients with a retry policy wait so long
Metadata = tuple[tuple[str, str], ...]


class Call(Protocol):
    """One call; everything on the loop. After its end nothing more happens to it, and ending it again does nothing."""

    trailing: Metadata  # what is sent with the end, good or bad
    abandon: Callable[[], None] | None  # what to do when the client leaves before the end
    noted: Noted | None  # what the logs will say; None: nothing
    waited: float  # seconds before it was looked at, as too many asked

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the client sent; the last of a name."""

    @property
    def peer(self) -> str:
        """The name in the client's certificate; empty without one."""

    def seconds_left(self) -> float | None:
        """Until the client's own deadline; None when it has none."""

    def send(self, message: bytes) -> None:
        """One of several answers."""

    def finish(self) -> None:
        """There are no more; OK."""

    def answer(self, message: bytes) -> None:
        """The only answer; OK."""

    def refuse(self, error: RequestError) -> None:
        """The end, and why."""


Handle = Callable[[Call, "bytes | memoryview"], None]


@dataclass(frozen=True, slots=True)
class Method:
    """`handle` gets the only message of a call, or, of `many`, each; a call of `many` ends when the client's side does.

    `streams` says that there may be several answers.  `admit` is asked first, where that can be done before a message
    is received, and raises what stands against the call.  One that `waits` may be made to before it is asked, while
    too many are called.
    """

    handle: Handle
    many: bool = False
    streams: bool = False
    admit: Callable[[Call], None] | None = None
    waits: bool = False


Methods = Mapping[str, Method]  # by path: /service/method


def simple(kind: type[Message], answer: Callable[[Any], Message]) -> Method:
    """A method that answers one message with another at once."""

    def handle(call: Call, raw: bytes | memoryview) -> None:
        call.answer(answer(parsed(kind, raw)).SerializeToString())

    return Method(handle)


def parsed(kind: type[Any], raw: bytes | memoryview) -> Any:
    """The message in `raw`; raises BadRequest."""
    try:
        return kind.FromString(bytes(raw))
    except DecodeError:
        raise BadRequest(f"the message is not a {kind.DESCRIPTOR.name}") from None


def carry_out(call: Call, step: Callable[..., None], *given: Any) -> None:
    """Do what is next for a call; whatever goes wrong with it, the client is told."""
    try:
        step(call, *given)
    except RequestError as error:
        call.refuse(error)
    except Exception:  # a fault of ours: the client gets an answer, the log the reason
        LOG.exception("%s failed", step)
        call.refuse(RequestError("internal error"))


def status_of(error: RequestError) -> int:
    """The number that gRPC has for it."""
    return NUMBERS[code_of(error)]


def trailing_of(error: RequestError, trailing: Metadata) -> Metadata:
    """What is told beside the status."""
    if isinstance(error, Throttled):
        return (*trailing, (PUSHBACK, str(1000 * error.retry_after)))
    return trailing
