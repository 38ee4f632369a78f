"""The metrics port: probes, metrics and the internal endpoints, on a thread and loop of their own.

However busy the server's loop is, a probe is answered.  What acts or tells about requests needs a token (access.py);
without `--internal-token-file` and `--access` those endpoints answer 401 to everybody.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from tidegate_runtime import explain_counts, metrics, trace_context
from tidegate_runtime.access import Guard
from tidegate_runtime.compare import Comparer
from tidegate_runtime.counters import Counters
from tidegate_runtime.further import further, traces
from tidegate_runtime.interfaces import Array, Gauges, LoadedModel, Parts
from tidegate_runtime.internal_documents import BadDocument, read_golden, read_rules, read_target
from tidegate_runtime.listening import cannot_listen
from tidegate_runtime.low_priority import LowPriority
from tidegate_runtime.metrics_http import Connection, Reply, Request, Rules, document, text
from tidegate_runtime.session import OrtModel
from tidegate_runtime.shadow import ShadowSender
from tidegate_runtime.shadow_wire import Malformed, Shadowed, unpack
from tidegate_runtime.synthetic import Synthetic
from tidegate_runtime.trace_context import TraceContext

LOG = logging.getLogger(__name__)
MAX_JSON = 64 * 2**10
MAX_COMPARE = 4 * 2**20  # a body and outputs of one MiB each, with room
STOP_SECONDS = 2.0
RESTARTED_FOR = {
    "RunStuck": "RunStuck: a run goes on long after its deadline",
    "DeviceLost": "DeviceLost: the GPU failed in a way that only a new process gets over",
}
Endpoint = Callable[[Request], Reply]


class InternalServer:
    """`start` binds and gives the port; everything else happens on the server's own thread."""

    def __init__(self, parts: Parts) -> None:
        assert isinstance(parts.recorder, Counters)
        assert isinstance(parts.shadow, ShadowSender)
        self._parts = parts
        self._counters = parts.recorder
        self._shadow = parts.shadow
        allowed = parts.settings.request_timeout
        self._comparer = Comparer(self._counters.divergence, parts.watchdog.lane(), decode_feeds, allowed)
        self._synthetic = Synthetic(self._counters.lanes["synthetic"], parts.watchdog.lane(), allowed)
        self._comparing = LowPriority("compare")
        self._guard = Guard(parts.settings.internal_token_file, parts.settings.access)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live_on_loop, name="metrics", daemon=True)
        self._listening: asyncio.Server | None = None
        self._http = Rules(self._respond, lambda path: MAX_COMPARE if path == "/internal/compare" else MAX_JSON)
        self._open: dict[str, dict[str, Endpoint]] = {
            "/livez": {"GET": self._live},
            "/readyz": {"GET": self._ready},
            "/startupz": {"GET": self._started},
            "/metrics": {"GET": self._metrics},
        }
        self._guarded: dict[str, dict[str, Endpoint]] = {
            "/internal/evidence": {"GET": self._evidence},
            "/internal/shadow": {"PUT": self._aim_shadow},
            "/internal/rules": {"PUT": self._set_rules},
            "/internal/compare": {"POST": self._compare},
            "/internal/golden": {"POST": self._golden},
        }

    def paths(self) -> list[str]:
        """All that this port answers."""
        return [*self._open, *self._guarded]

    def start(self) -> int:
        """Bind, serve, and give the port; raises Failed when the port cannot be had."""
        settings = self._parts.settings
        listening = bind(settings.metrics_host, settings.metrics_port)
        self._guard.start()
        self._comparing.start()
        self._thread.start()
        serving = self._loop.create_server(lambda: Connection(self._http), sock=listening, backlog=128)
        self._listening = asyncio.run_coroutine_threadsafe(serving, self._loop).result(timeout=STOP_SECONDS)
        return int(listening.getsockname()[1])

    def stop(self) -> None:
        """Close every connection and end the threads; probes fail from now on."""
        self._synthetic.stop()
        self._comparing.stop()
        self._guard.stop()
        if self._listening is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=STOP_SECONDS)

    def _live_on_loop(self) -> None:
        self._loop.run_forever()
        if self._listening is not None:
            self._listening.close()
        for transport in list(self._http.connections):
            transport.abort()
        self._loop.run_until_complete(asyncio.sleep(0))  # the transports close their sockets here
        self._loop.close()

    # routes

    async def _respond(self, request: Request) -> Reply:
        if (refusal := await self._guard.refusal(request)) is not None:
            return refusal
        methods = self._open.get(request.path) or self._guarded.get(request.path)
        if methods is None:
            return text(404, "no such path on the metrics port")
        endpoint = methods.get(request.method)
        if endpoint is None:
            return Reply(405, b"", allow=", ".join(methods))
        try:
            return endpoint(request)
        except (BadDocument, Malformed) as error:
            return text(400, str(error))
        except Exception:  # a fault here must not leave the connection without an answer
            LOG.exception("%s %s failed", request.method, request.path)
            return text(500, "internal error")

    def _live(self, _: Request) -> Reply:
        health = self._parts.health
        if health.live:
            return text(200, "ok")
        return text(503, RESTARTED_FOR.get(health.reason, health.phase.value))

    def _ready(self, _: Request) -> Reply:
        health = self._parts.health
        return text(200, "ok") if health.ready else text(503, health.reason or health.phase.value)

    def _started(self, _: Request) -> Reply:
        health = self._parts.health
        return text(200, "ok") if health.started else text(503, health.phase.value)

    def _metrics(self, _: Request) -> Reply:
        gauges, model, processes = self._gauges, self._parts.model, self._parts.processes
        loaded = model if isinstance(model, OrtModel) else None
        now = metrics.Now(
            labels=self._names(),
            ready=self._parts.health.ready,
            in_flight=gauges.in_flight,
            queued=gauges.queued,
            connections=gauges.connections,
            unread=gauges.unread,
            golden_worst=dict(loaded.worst) if loaded else {},
            shadow_dropped=self._dropped,
            batching=self._parts.batching,
            processes=processes.alive if processes is not None else 1,
            restarts=processes.restarts if processes is not None else 0,
            further=protection.families(self._further) if (protection := self._parts.protection) else (),
            traces=traces(self._further),
            explained=explain_counts.codes(self._further),
            explain_seconds=explain_counts.durations(self._further),
            gpu=loaded.gpu if loaded else None,
            work=loaded.work if loaded else {},
        )
        return Reply(200, metrics.exposition(self._counted, now), metrics.CONTENT_TYPE)

    # of all processes, where there are several

    @property
    def _counted(self) -> Counters:
        return self._counters if self._parts.processes is None else self._parts.processes.counters

    @property
    def _gauges(self) -> Gauges:
        return self._parts.gauges if self._parts.processes is None else self._parts.processes

    @property
    def _dropped(self) -> int:
        return self._shadow.dropped if self._parts.processes is None else self._parts.processes.dropped

    @property
    def _further(self) -> Mapping[str, int]:
        if self._parts.processes is not None:
            return self._parts.processes.further
        return further(self._parts.protection, self._parts.tracer, self._parts.explained)

    def _names(self) -> dict[str, str]:
        model, settings = self._parts.model, self._parts.settings
        if model is None:
            return {"model": settings.name, "version": "", "revision": settings.revision}
        return {"model": model.name, "version": model.version, "revision": model.revision}

    # internal endpoints

    def _evidence(self, _: Request) -> Reply:
        found: dict[str, Any] = self._counted.evidence()
        names, gauges = self._names(), self._gauges
        found |= {"model": names["model"], "revision": names["revision"]}
        found |= {"inFlight": gauges.in_flight, "queued": gauges.queued}
        found["divergence"]["dropped"] = self._dropped
        return document(found)

    def _aim_shadow(self, request: Request) -> Reply:
        target = read_target(request.body)
        self._shadow.aim(target)
        if self._parts.processes is not None:
            self._parts.processes.aim()
        return Reply(204)

    def _set_rules(self, request: Request) -> Reply:
        self._comparer.rules = read_rules(request.body)
        return Reply(204)

    def _compare(self, request: Request) -> Reply:
        model, shadowed = self._parts.model, unpack(request.body)
        if model is None:
            return text(503, "the model is not loaded yet")
        headers = request.headers
        trace = trace_context.read(headers.get(trace_context.PARENT, ""), headers.get(trace_context.STATE, ""))
        if not self._comparing.offer(lambda: self._compare_now(model, shadowed, trace), len(request.body)):
            return text(429, "as many comparisons wait as there is room for")  # the sender counts it as dropped
        return text(202, "queued")

    def _compare_now(self, model: LoadedModel, shadowed: Shadowed, trace: TraceContext | None) -> None:
        begun = time.monotonic()
        found = self._comparer.compare(model, shadowed)
        if self._parts.tracer is not None:
            self._parts.tracer.compared(trace, begun, time.monotonic(), found)

    def _golden(self, request: Request) -> Reply:
        wish, model = read_golden(request.body), self._parts.model
        if not isinstance(model, OrtModel):
            return text(503, "the model is not loaded yet")
        if not model.samples:
            return text(409, "the bundle has no golden samples")
        self._synthetic.ask(model, wish.rate, wish.count)
        return text(202, "running")


def decode_feeds(body: bytes, header_length: int | None, model: LoadedModel) -> dict[str, Array]:
    """The tensors of a shadowed request, read as the request path reads them."""
    from tidegate_runtime import oip_codec

    return oip_codec.decode(body, header_length, model).feeds


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; raises Failed with the port in the sentence."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise cannot_listen(error, host, port, "--metrics-host") from None
