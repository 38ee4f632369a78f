"""W3C Trace Context: of whose trace a request is part, as the headers `traceparent` and `tracestate` say it.

https://www.w3.org/TR/trace-context-2/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

PARENT: Final = "traceparent"  # a header over HTTP, metadata over gRPC
STATE: Final = "tracestate"
FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
FIRST_VERSION, NO_VERSION = "00", "ff"
SAMPLED: Final = 1
KNOWN_FLAGS: Final = 3  # sampled, and that the trace's id is random
LONGEST_STATE: Final = 512


@dataclass(frozen=True, slots=True)
class TraceContext:
    """One span's place: its trace (128 bits), the span itself (64 bits), and what is passed on with them."""

    trace: int
    span: int
    flags: int
    state: str = ""  # as it came; other systems' own

    @property
    def sampled(self) -> bool:
        return bool(self.flags & SAMPLED)

    def headers(self) -> dict[str, str]:
        """What a request carries that is made on behalf of this span."""
        parent = {PARENT: f"00-{self.trace:032x}-{self.span:016x}-{self.flags:02x}"}
        return parent | {STATE: self.state} if self.state else parent


def read(parent: str, state: str) -> TraceContext | None:
    """The context that the two headers tell; None when there is none, or it is malformed, which is to be ignored."""
    match = FORM.fullmatch(parent)
    if match is None:
        return None
    version, trace, span, flags, more = match.groups()
    if version == NO_VERSION or (version == FIRST_VERSION and more):
        return None
    context = TraceContext(int(trace, 16), int(span, 16), int(flags, 16) & KNOWN_FLAGS, _passed_on(state))
    return context if context.trace and context.span else None


def _passed_on(state: str) -> str:
    """What goes on to others: nothing that is too long, or that no header may hold."""
    return state if len(state) <= LONGEST_STATE and state.isascii() and state.isprintable() else ""
