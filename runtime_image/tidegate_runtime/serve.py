"""`tidegate-runtime serve`: puts the parts together, tells when it listens, proves the model, serves until told to end.

The port is open while the model loads: everything but the health paths answers 503 until the golden samples have
passed.  A failure before that ends the process with one line for whoever started it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvloop

from tidegate.errors import TidegateError
from tidegate_runtime import __version__, golden, json_reader, lifeline, memory, session, tracing
from tidegate_runtime.admission import Admission
from tidegate_runtime.cores import usable_cores
from tidegate_runtime.counters import Counters
from tidegate_runtime.drain import Door, Drain
from tidegate_runtime.explain_counts import ExplainCounts
from tidegate_runtime.further import further
from tidegate_runtime.health import Health, Phase
from tidegate_runtime.interfaces import Parts
from tidegate_runtime.internal import InternalServer
from tidegate_runtime.logs import keep_to_lines, log
from tidegate_runtime.oip import server_routes
from tidegate_runtime.outcome import one_line
from tidegate_runtime.predict import alive_routes
from tidegate_runtime.protection import Protection
from tidegate_runtime.server import Server
from tidegate_runtime.serving import Observed, on_thread, serve_model, tracer_of
from tidegate_runtime.session import OrtModel
from tidegate_runtime.settings import FLAGS, Settings, add_flags, read_settings
from tidegate_runtime.shadow import ShadowSender
from tidegate_runtime.siblings.choose import how_many
from tidegate_runtime.slots import Slots
from tidegate_runtime.tracing import Tracer
from tidegate_runtime.watchdog import Watchdog

if TYPE_CHECKING:
    from tidegate_runtime.grpc_grpcio import GrpcioServer
    from tidegate_runtime.grpc_native import NativeServer
    from tidegate_runtime.siblings.family import Family

CUT_OFF: Final = 0  # what was left at the end of the drain is the clients' loss, not a failure of the process
DIED_LOADING: Final = {
    "reason": "ModelInvalid",
    "message": "the server died while loading the model: a crash or not enough memory",
}
GRPC_ENVIRONMENT: Final = {
    "GRPC_VERBOSITY": "NONE",  # it writes to stderr what it then says by an exception
    "GRPC_EXPERIMENTS": "-event_engine_listener",  # no threads between socket and loop: R 0.51 -> 0.54 (110 KB)
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_flags(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM; the exit code."""
    keep_to_lines()
    try:
        settings = read_settings(vars(arguments), os.environ)
        collector = tracing.endpoint(settings.otlp_endpoint, os.environ)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        log_file = arguments.termination_log or os.environ.get("TIDEGATE_TERMINATION_LOG")
        if log_file:
            write_words(Path(log_file), {"reason": "Usage", "message": one_line(str(error))})
        return 2
    given = {flag.field: getattr(arguments, flag.field) for flag in FLAGS}
    code = uvloop.run(_Process(settings, given, collector).live())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a run that never ends, in a thread, must not keep the process


class _Process:
    """One life of the server."""

    def __init__(self, settings: Settings, given: Mapping[str, str | None], collector: str | None) -> None:
        self._settings, self._given = settings, given
        self._collector = collector  # where spans go, if anywhere
        self._tracer: Tracer | None = None
        watchdog = Watchdog()
        shadow = ShadowSender(settings.identity_token_file)
        explained = ExplainCounts() if settings.explain else None
        self._parts = Observed(
            watchdog,
            Counters(),
            shadow,
            Admission(settings.queue),
            Health(watchdog),
            explained,
            Slots(settings.explain),
        )
        self._seen = Parts(
            settings=settings, health=self._parts.health, recorder=self._parts.recorder, shadow=self._parts.shadow,
            gauges=self._parts.admission, watchdog=watchdog, explained=explained,
        )  # fmt: skip
        health = self._parts.health
        base = server_routes(health, __version__, explains=settings.explain > 0) | alive_routes(health)
        self._server = Server(settings, self._parts.admission, base)
        self._grpc: NativeServer | GrpcioServer | None = None
        self._protection: Protection | None = None
        self._family: Family | None = None
        self._lost: TidegateError | None = None

    async def live(self) -> int:
        """From listening to the last answer; the exit code."""
        drain = Drain(self._parts.health, self._settings.drain_delay, self._settings.drain)
        self._listen_to_signals(drain)
        self._parts.watchdog.start()
        internal = InternalServer(self._seen)
        try:
            protection = self._protection = self._seen.protection = Protection.of(self._settings)
            metrics_port = internal.start()
            http_port = await self._server.start(protection)
            loaded = asyncio.ensure_future(self._with_siblings(self._begin_to_load(), drain))
            ports = {"http": http_port, **await self._start_grpc(protection), "metrics": metrics_port}
            self._tell(ports)
            protection.start()
            if not await self._become_ready(loaded, drain):
                return self._end(0)
        except TidegateError as error:
            self._parts.health.phase = Phase.FAILED
            return self._fail(error)
        await drain.begun()
        self._server.front.closing = True
        if self._family is not None:
            self._family.drain()
        finished = await drain.carry_out(*self._doors)
        if self._tracer is not None:
            self._tracer.stop()
        log("info", "stopped", everything_answered=finished)
        internal.stop()
        return self._end(CUT_OFF) if self._lost is None else self._fail(self._lost)

    def _end(self, code: int) -> int:
        """Write what the logs still hold; the exit code."""
        if self._protection is not None:
            self._protection.stop()
        return code

    def _listen_to_signals(self, drain: Drain) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, drain.begin)
        loop.add_signal_handler(signal.SIGINT, drain.hurry)
        if self._settings.lifeline_fd is not None:

            def lost() -> None:
                loop.call_soon_threadsafe(drain.hurry)

            lifeline.watch(self._settings.lifeline_fd, lost)

    async def _start_grpc(self, protection: Protection) -> dict[str, int]:
        """The port of gRPC, if there is to be one; what it imports takes as long as a small model to load."""
        if self._settings.grpc_port is None:
            return {}
        self._grpc = self._grpc_server(self._settings.grpc_port, protection)
        return {"grpc": await self._grpc.start()}

    def _grpc_server(self, port: int, protection: Protection) -> NativeServer | GrpcioServer:
        if self._settings.grpc_server == "native":
            from tidegate_runtime.grpc_native import NativeServer

            return NativeServer(self._settings, port, self._parts.health, protection, self._server.front.pressure)
        for name, value in GRPC_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from tidegate_runtime.grpc_grpcio import GrpcioServer

        return GrpcioServer(self._settings, port, self._parts.health, protection)

    @property
    def _doors(self) -> tuple[Door, ...]:
        return tuple(door for door in (self._server, self._family, self._grpc) if door is not None)

    def _tell(self, ports: dict[str, int]) -> None:
        line = {"event": "listening", **ports, "pid": os.getpid(), "instance": self._parts.recorder.instance}
        print(json.dumps(line), flush=True)  # noqa: T201 - the contract with whoever started us

    def _begin_to_load(self) -> asyncio.Future[OrtModel]:
        """Load and prove the model on a thread."""
        self._last_words(DIED_LOADING)
        return on_thread(self._load)

    async def _with_siblings(self, loading: asyncio.Future[OrtModel], drain: Drain) -> OrtModel:
        """The model, loaded in this process and in others, where there are to be some."""
        model = await loading
        count, why = how_many(self._settings, model, usable_cores(), memory.copies())
        if self._settings.workers != 1:
            log("info", "processes", count=count, why=why)
            self._settings = replace(self._settings, workers=count)
        if count > 1:
            await self._start_siblings(count, model, drain)
        return model

    async def _start_siblings(self, count: int, model: OrtModel, drain: Drain) -> None:
        """Each with its share of the requests that may wait; what is left over is this process's."""
        from tidegate_runtime.siblings.family import Family
        from tidegate_runtime.siblings.wire import Hello

        queue, recorder = self._settings.queue // count, self._parts.recorder
        slots = self._parts.slots.share() if self._settings.explain else None
        hello = Hello(self._given, model.digest, model.measured, recorder.clock, recorder.instance, count, queue, slots)

        def lost(error: TidegateError) -> None:
            self._lost = error
            drain.begin()

        counts = partial(further, self._protection, self._tracer, self._parts.explained)
        self._family = Family(self._parts, self._server, counts, self._settings.max_connections)
        self._parts.admission.limit_to(self._settings.queue - (count - 1) * queue)
        await self._family.start(count - 1, hello, lost)

    async def _become_ready(self, loaded: asyncio.Future[OrtModel], drain: Drain) -> bool:
        """Serve what is loaded; false when the end was asked for before that was done."""
        asked_to_end = asyncio.ensure_future(drain.begun())
        either: set[asyncio.Future[Any]] = {loaded, asked_to_end}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not loaded.done():
            self._last_words(None)  # whoever ended it early has not found anything wrong with the model
            return False
        asked_to_end.cancel()
        self._serve(loaded.result())
        self._last_words(None)
        if self._parts.health.phase is Phase.STARTING:
            self._parts.health.phase = Phase.READY
        log("info", "ready", model=self._seen.model.name if self._seen.model else "")
        return True

    def _load(self) -> OrtModel:
        """Load, warm up, prove; also compile every path a request takes once, so that the first one is not slow."""
        lane = self._parts.watchdog.lane()
        model = session.load(self._settings, lane)
        golden.prove(model, self._settings, lane)
        if self._collector is not None:
            instance = self._parts.recorder.instance
            self._tracer = tracer_of(model, self._settings, self._collector, instance)
        return model

    def _serve(self, model: OrtModel) -> None:
        if self._tracer is not None:
            self._tracer.start()
        self._seen.tracer = self._tracer
        memory.keep_freed()
        serving = serve_model(model, self._settings, self._parts, self._server, self._tracer)
        if self._grpc is not None:
            self._grpc.serve(serving.inferring, serving.identity)
        batching = serving.engine.batching
        self._seen.model, self._seen.batching = model, batching
        if not json_reader.is_native():
            log("warning", "large JSON bodies are read slowly", why="_json_numbers was not built: docs/server.md")
        log("info", "batching", rows=batching.rows, reason=batching.code, why=batching.sentence)
        if self._family is not None:
            self._seen.processes, self._family.statistics = self._family, serving.engine.statistics
            self._family.aim()  # whoever aimed before this knew of no siblings
            self._server.share(self._family)

    def _fail(self, error: TidegateError) -> int:
        words = {"reason": error.reason, "message": one_line(str(error))}
        self._last_words(words)
        print(json.dumps(words), file=sys.stderr, flush=True)  # noqa: T201 - the contract
        return self._end(error.exit_code)

    def _last_words(self, words: dict[str, str] | None) -> None:
        """What the termination log says when the process ends now."""
        path = self._settings.termination_log
        if path is not None:
            write_words(path, words)


def write_words(path: Path, words: dict[str, str] | None) -> None:
    """One line of JSON, or nothing; a log that cannot be written is told on stderr and no reason to stop."""
    try:
        path.write_text("" if words is None else json.dumps(words) + "\n")
    except OSError as error:
        log("warning", "termination log cannot be written", error=error.strerror or "")
