"""The seams between the parts of the server: what the request path needs from the model, the counters and the shadow.

    http -> codec -> engine ------------> LoadedModel (session.py) runs under a Lane (watchdog.py)
                       `-> answered ----> Recorder (counters.py), Shadow (shadow.py)
    internal.py (its own thread) reads ---^ and Health (health.py), Gauges (admission.py)

What `main.py` calls to put the parts together, in this order:

    watchdog.Watchdog()                         .start() .stop(); is a `Watchdog`
    counters.Counters()                         is a `Recorder`
    shadow.ShadowSender(identity file)          is a `Shadow`; .stop()
    internal.InternalServer(parts)              parts: `Parts` below; .start() -> port, .stop()
    lifeline.watch(fd, lost)                    calls `lost()` on a thread of its own at EOF
    session.load(settings, lane) -> LoadedModel     loads, proves residency, warms up: raises TidegateError
    golden.prove(model, settings, lane)             raises GoldenMismatch, unless `settings.golden` says otherwise
    parts.model = model                         from now on golden and compare endpoints can run it

What the compare endpoint calls to read a shadowed request: `oip_codec.decode(body, header_length, model)`, which
gives an `Inference` with `.feeds`; it runs it with `model.run` on a lane and thread of its own, never through the
engine.

Only types live here, so that every part can be tested without the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tidegate.bundle.manifest import TensorSpec
from tidegate_runtime.errors import RequestError

if TYPE_CHECKING:
    from tidegate_runtime.batching import Batching
    from tidegate_runtime.counters import Counters
    from tidegate_runtime.explain_counts import ExplainCounts
    from tidegate_runtime.health import Health
    from tidegate_runtime.protection import Protection
    from tidegate_runtime.settings import Settings
    from tidegate_runtime.trace_context import TraceContext
    from tidegate_runtime.tracing import Tracer

Array = NDArray[np.generic]  # BYTES: object array of str; BF16: uint16 with the raw bits; FP16: float16
Body = bytes | bytearray | memoryview  # of a request, as it came or unpacked
Kind = Literal["requests", "pinned", "synthetic"]


class Lane(Protocol):
    """One thing that runs one model call at a time (the loop, a worker thread), under the watchdog's eye.

    `with lane.under(deadline)` is what a run happens in; `options` are the RunOptions to give to ONNX Runtime then.
    """

    lost: bool  # a run found the GPU lost: the server cannot go on

    @property
    def options(self) -> Any:
        """The RunOptions of the run under way; the watchdog sets `terminate` on them at the deadline."""

    def begin(self, deadline: float) -> None:
        """A run starts that must end before `deadline` (time.monotonic)."""

    def end(self) -> bool:
        """The run is over; true when the watchdog terminated it. Fresh RunOptions are made after that."""


class Watchdog(Protocol):
    """The thread that terminates runs at their deadline."""

    @property
    def stuck(self) -> bool:
        """A run ignored its end for twice its deadline: liveness fails and new requests get 503."""

    @property
    def lost(self) -> bool:
        """The GPU is lost to this process: liveness fails and new requests get 503."""

    def lane(self) -> Lane:
        """A new lane; each thread that runs the model has its own."""


@dataclass(frozen=True, slots=True)
class Objection:
    """Why rows of different requests must not share a run; `code` is stable: NoRows, RowsDepend, NotProved."""

    code: str
    sentence: str


class LoadedModel(Protocol):
    """A model that is loaded, warm and proved by its golden samples."""

    name: str  # settings.name or the bundle's
    version: str  # the bundle's version
    revision: str  # settings.revision or the bundle's version
    digest: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...]  # what the classes are called, by index; empty when the bundle does not say
    costs: tuple[tuple[int, float], ...]  # (rows, seconds of one run) measured in the warm-up, rows rising
    most_together: int  # rows that one run may have: with more it failed in the warm-up, or nobody wants them
    objection: Objection | None  # why requests must not share a run; None: answers were found not to change by it

    @property
    def batchable(self) -> bool:
        """The first dimension of all tensors is one of rows that do not depend on each other: no objection."""

    def run(self, feeds: dict[str, Array], lane: Lane) -> list[Array]:
        """All outputs in the order of `outputs`, under `lane.options`.

        Called between `lane.begin` and `lane.end`, from several threads at once. Raises whatever ONNX Runtime
        raises; the caller asks `lane.end()` whether it was the deadline.
        """


class Recorder(Protocol):
    """The counters of evidence and metrics; called on the loop's thread, once per answer: cheap."""

    def answered(self, kind: Kind, status: int, queue_s: float, compute_s: float, total_s: float) -> None:
        """An inference request was answered with `status`; 0.0 seconds where it never got that far."""

    def ran(self, rows: int, requests: int) -> None:
        """One run of the model carried `rows` rows of `requests` requests."""

    def left(self) -> None:
        """A client went away before its answer."""


class Source(Protocol):
    """A request as its transport knows it, for who counts it and, where requests are traced, tells of it."""

    @property
    def kind(self) -> Kind:
        """Who chose the version that it came to."""

    def trace_headers(self) -> tuple[str, str]:
        """Its `traceparent` and `tracestate`, empty where it has none."""

    def described(self, error: RequestError | None, *, tls: bool) -> tuple[str, dict[str, str | int | bool]]:
        """The name of its span and the attributes of OpenTelemetry's conventions.

        `error`: how it was refused, if it was.  `tls`: the server's ports speak it.
        """


class Shadow(Protocol):
    """The sender that shows sampled requests and their answers to the candidate."""

    @property
    def wants(self) -> bool:
        """Whether anything is to be shadowed now; read for every request, so it is a plain attribute."""

    def offer(
        self, body: Body, header_length: int | None, outputs: dict[str, Array], trace: TraceContext | None
    ) -> None:
        """An answered request as it came (`header_length`: the JSON part of a binary body) and the answer's tensors.

        `trace` goes with it where it is traced. Samples, copies and queues; never blocks, drops when full.
        """


class Gauges(Protocol):
    """What the metrics read from the request path at any time, from another thread: plain integers."""

    @property
    def in_flight(self) -> int:
        """Requests accepted and not yet answered, waiting ones included."""

    @property
    def queued(self) -> int:
        """Requests that wait for a run."""

    @property
    def connections(self) -> int:
        """Open ones."""

    @property
    def unread(self) -> int:
        """Connections whose request waits for room in the queue."""


class Processes(Gauges, Protocol):
    """All processes of this server, where there are several (siblings/); read from any thread."""

    @property
    def counters(self) -> Counters:
        """Of all of them, as one process would have counted."""

    @property
    def dropped(self) -> int:
        """Of what was to be shadowed."""

    @property
    def further(self) -> Mapping[str, int]:
        """Counts of the parts that are not always there, see siblings/counts.py."""

    @property
    def alive(self) -> int:
        """How many answer."""

    @property
    def restarts(self) -> int:
        """Of those that died."""

    def aim(self) -> None:
        """The siblings shadow to where this process does, too."""


@dataclass(slots=True)
class Parts:
    """What the internal endpoints can see; the last ones are set when it is loaded and proved."""

    settings: Settings
    health: Health
    recorder: Recorder
    shadow: Shadow
    gauges: Gauges
    watchdog: Watchdog
    model: LoadedModel | None = None
    batching: Batching | None = None
    protection: Protection | None = None
    tracer: Tracer | None = None
    explained: ExplainCounts | None = None  # None: nothing is explained
    processes: Processes | None = None  # None: this one is alone
