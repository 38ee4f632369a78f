"""What may go wrong between a client and the API server, planned by a test and met call by call.

A fault strikes before the server sees the call, or after the write took effect (the answer is lost).  A crash is no
`Exception`: no `except` of the product may catch it, and once dead a client stays dead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tidegate.cluster.errors import (
    AlreadyExists,
    ApiDown,
    Conflict,
    Forbidden,
    NamespaceTerminating,
    NotFound,
    QuotaExceeded,
    Refused,
    Throttled,
    Unauthorized,
)
from tidegate.plan.manifests.identity import Kind

WRITES = frozenset({"create", "apply", "scale", "delete", "put_status"})
MakeError = Callable[[], BaseException]


class Crash(BaseException):
    """The process is killed here."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a client; `number` counts all of them from 1, `write` only the writes (0 for a read)."""

    number: int
    write: int
    verb: str
    kind: Kind
    namespace: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.number}: {self.verb} {self.kind.kind} {self.namespace or '*'}/{self.name}"


Matching = Callable[[Call], bool]


def any_call(call: Call) -> bool:
    return True


def any_write(call: Call) -> bool:
    return call.write > 0


def calls_of(*verbs: str, kind: Kind | None = None) -> Matching:
    """Calls with one of these verbs, of one kind if it is named."""
    return lambda call: call.verb in verbs and kind in (None, call.kind)


ERRORS: dict[str, MakeError] = {
    "400": lambda: Refused("admission webhook denied the request: not on Fridays"),
    "401": lambda: Unauthorized("Unauthorized"),
    "403": lambda: Forbidden('User "tidegate" cannot do this in the namespace'),
    "403 quota": lambda: QuotaExceeded("exceeded quota: compute, requested: pods=1, used: pods=9, limited: pods=9"),
    "403 ending": lambda: NamespaceTerminating("unable to create new content because it is being terminated"),
    "404": lambda: NotFound("the server could not find the requested resource"),
    "409": lambda: Conflict("the object has been modified"),
    "409 exists": lambda: AlreadyExists("already exists"),
    "413": lambda: Refused("Request entity too large: limit is 3145728"),
    "422": lambda: Refused("is invalid: spec: Invalid value"),
    "429": lambda: Throttled("too many requests", retry_after=2.0),
    "500": lambda: ApiDown("Internal error occurred: etcdserver: leader changed"),
    "503": lambda: ApiDown("the server is currently unable to handle the request"),
    "timeout": lambda: ApiDown("no answer within the deadline"),
    "reset": lambda: ApiDown("connection reset by peer"),
}


@dataclass(slots=True)
class Fault:
    """Calls that match fail, `times` of them; `after`: when the server has done what was asked."""

    matching: Matching
    error: MakeError
    times: int
    after: bool


@dataclass(slots=True)
class Faults:
    """The faults of one client, and a record of its calls."""

    log: list[Call] = field(default_factory=list)
    done: list[Call] = field(default_factory=list)  # writes that the server carried out
    crash_after_write: int | None = None  # as many writes take effect, then the process is killed; 0: before the first
    dead: bool = False
    before: Callable[[Call], Awaitable[object]] | None = None  # awaited with each call: a slow or blocked network
    sent: int = 0  # writes that were sent, whatever became of them
    _planned: list[Fault] = field(default_factory=list)
    _stale: dict[Kind, int] = field(default_factory=dict)

    # -- what a test plans ----------------------------------------------------------------------------

    def fail(self, matching: Matching, error: str | MakeError, *, times: int = 1, after: bool = False) -> None:
        """Calls that match fail with the error (or one of ERRORS by name)."""
        made = ERRORS[error] if isinstance(error, str) else error
        self._planned.append(Fault(matching, made, times, after))

    def fail_call(self, number: int, error: str | MakeError, *, after: bool = False) -> None:
        """The n-th call from the start of this client fails."""
        self.fail(lambda call: call.number == number, error, after=after)

    def fail_write(self, number: int, error: str | MakeError, *, after: bool = False) -> None:
        """The n-th write (of those sent) fails."""
        self.fail(lambda call: call.write == number, error, after=after)

    def down(self, error: str | MakeError = "reset") -> None:
        """Every call fails until `up`."""
        self.fail(any_call, error, times=10**9)

    def up(self) -> None:
        """What was planned is over."""
        self._planned.clear()
        self._stale.clear()
        self.before = None

    def freeze(self, version: int, *kinds: Kind) -> None:
        """Reads of these kinds show the state at that resourceVersion until `up`."""
        self._stale.update(dict.fromkeys(kinds, version))

    # -- what a test asks -------------------------------------------------------------------------------

    @property
    def writes(self) -> int:
        """Writes that the server carried out."""
        return len(self.done)

    # -- what the client does -----------------------------------------------------------------------------

    def stale(self, kind: Kind) -> int | None:
        return self._stale.get(kind)

    async def enter(self, verb: str, kind: Kind, namespace: str | None, name: str) -> Call:
        """The call is on its way; raises what stops it from arriving."""
        self._die_if(self.dead or (verb in WRITES and self.crash_after_write == 0))
        self.sent += verb in WRITES
        call = Call(len(self.log) + 1, self.sent if verb in WRITES else 0, verb, kind, namespace, name)
        self.log.append(call)
        if self.before:
            await self.before(call)
            self._die_if(self.dead)
        self._strike(call, after=False)
        return call

    def leave(self, call: Call) -> None:
        """The server has done it; raises what keeps the answer from arriving."""
        if call.write:
            self.done.append(call)
            self._die_if(self.crash_after_write is not None and len(self.done) >= self.crash_after_write)
        self._strike(call, after=True)

    def _die_if(self, killed: bool) -> None:
        if killed:
            self.dead = True
            raise Crash

    def _strike(self, call: Call, *, after: bool) -> None:
        for fault in self._planned:
            if fault.after == after and fault.times > 0 and fault.matching(call):
                fault.times -= 1
                raise fault.error()
