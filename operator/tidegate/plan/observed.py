"""What the world looks like when a plan is made: everything `plan()` may know besides spec, status and `now`.

The runner (cluster or local) fills it afresh before every call, from what it sees and from nothing it
remembers; it decides nothing.  Whatever it could not read it leaves out: a missing scrape, a revision it has
no news of.  Nothing in here is trusted to fit the status: the status may be lost, or older, or newer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tidegate.api.runtime import Runtime
from tidegate.bundle.manifest import Interface
from tidegate.plan.evidence import PodSample


class FailureClass(StrEnum):
    """What to do about a failure: a changed bundle or spec, a wait, or nothing because a person wanted it."""

    CONTENT = "Content"  # the bytes or the numbers are wrong: not tried again until the key changes or `retry`
    ENVIRONMENT = "Environment"  # something around it is missing: tried again from 1 minute to 1 hour, for ever
    COMMAND = "Command"  # rolled back by a person


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something does not get on; `reason` is a stable code of docs/errors.md.

    `DigestMismatch SignatureMissing SignatureOtherKey SignatureInvalid GoldenMismatch InterfaceChanged
    MetricBelowBound ModelInvalid SourceChanged …` are Content; `Unreachable Denied DiskFull
    DeviceUnavailable StartTimeout CrashLoop …` are Environment.  The runner chooses the class: exit code 1
    of a server or a `Refused` is Content, everything that may pass without a new spec is Environment.
    """

    class_: FailureClass
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a bundle's manifest says, read once per change of `spec.bundle` (digest and signature verified)."""

    uri: str
    digest: str
    version: str
    interface: Interface
    has_golden: bool
    metrics: Mapping[str, float] = field(default_factory=dict)
    labels: tuple[str, ...] = ()  # lines of labels.txt
    image: str = ""  # the runtime image by digest; locally the installed distribution's version
    plain_bytes: int = 0  # memory that an encrypted bundle takes decrypted; 0: it is not encrypted


@dataclass(frozen=True, slots=True)
class Resolved:
    """The answer to `Plan.resolve`: `key` and `attempt` are those of the question; exactly one of the rest."""

    key: str
    attempt: int
    resolution: Resolution | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class RevisionRecord:
    """What a revision is, write-once: the runner keeps it beside the servers (a ControllerRevision; a file).

    Servers of a revision are always started from its record, never from the current spec.  `base` is the
    revision without its `restart` token: two revisions of one base differ only in when they were started.
    """

    revision: str
    number: int  # 1, 2, 3 …: what `history` and the TensorFlow Serving API show
    resolution: Resolution
    runtime: Runtime
    base: str
    restart: str = ""  # the time of the restart command that asked for it
    proved: bool = False  # whether the whole bundle was, before anything of it was started


@dataclass(frozen=True, slots=True)
class RevisionObserved:
    """The servers of one revision, as they are and not as they should be."""

    revision: str
    replicas: int  # processes or pods that exist, not counting those draining
    ready: int
    device: str = ""  # what they run on, when it is known
    failure: Failure | None = None  # why the latest start failed; None while starting for the first time
    # a server that was ready and died sets `failure` too, until its successor is ready
    placed: int = 0  # of `replicas`: those that have a node
    short: str = ""  # how many of them wait for accelerators, and what there is of those
    bound: str = ""  # why their accelerators would be lost with them: then none is stopped for another version


@dataclass(frozen=True, slots=True)
class RouteObserved:
    """The traffic split in effect: what the proxy has acknowledged, not what was asked for."""

    weights: Mapping[str, int] = field(default_factory=dict)  # by revision, where the route gives any
    accepted: bool = True  # every parent current and accepted; locally: Envoy took the last update
    message: str = ""  # why not
    reason: str = "RouteNotReady"  # the same as a code of docs/errors.md
    pending: bool = False  # not accepted, because it was changed a moment ago: nobody has refused it
    url: str = ""
    sharing: frozenset[str] = frozenset()  # who gets requests besides, as far as that is known

    @property
    def routed(self) -> frozenset[str]:
        """The revisions that get requests; empty: there is no route yet."""
        return self.sharing | {revision for revision, weight in self.weights.items() if weight}


@dataclass(frozen=True, slots=True)
class Observed:
    """One look at the world."""

    generation: int = 1  # rises with every change of the spec (locally: counted by the runner, kept in its state)
    resolved: Resolved | None = None
    records: Mapping[str, RevisionRecord] = field(default_factory=dict)
    revisions: Mapping[str, RevisionObserved] = field(default_factory=dict)
    route: RouteObserved = field(default_factory=RouteObserved)
    obstacle: Failure | None = None  # why something beside servers and route is not as it should be: a budget, scaling
    stable_marker: str = ""  # the stable revision's name on the front (kept apart from the status, which may be lost)
    asked_by: str = ""  # the value of a command and who gave it, with a blank between
    commands: Mapping[str, str] = field(default_factory=dict)  # verb -> latest value, unknown verbs are ignored
    samples: tuple[PodSample, ...] = ()  # of every server of both versions that answered; only fresh ones
    unread: str = ""  # why the counters could not be read, where that has one reason for all servers
    # Answers to `queries.questions`, by name; None or missing: no answer, which is never a pass and never a failure.
    queries: Mapping[str, float | None] = field(default_factory=dict)
    unanswered: Mapping[str, str] = field(default_factory=dict)  # why a query has no answer, where that is known
    environment: str = (
        ""  # any text that changes when what was missing changed: rejected Environment is retried at once
    )
    exact_weights: bool = True  # False: the split is the number of ready servers (provider Service)
    scheduled: bool = False  # True: servers wait for a scheduler, which knows whether there is room for them
