"""A sibling: the model, a loop and an engine, for connections that the main process accepted. Started by `life.py`.

It has no port and takes no signal: the main process tells it when to end, and when that is gone it ends at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from dataclasses import dataclass, replace
from typing import Final

import uvloop

from tidegate.errors import Temporary, TidegateError
from tidegate_runtime import __version__, golden, lifeline, memory, session, tracing
from tidegate_runtime.admission import Admission
from tidegate_runtime.counters import Counters
from tidegate_runtime.explain_counts import ExplainCounts
from tidegate_runtime.further import further
from tidegate_runtime.health import Health, Phase
from tidegate_runtime.logs import keep_to_lines
from tidegate_runtime.oip import server_routes
from tidegate_runtime.outcome import one_line
from tidegate_runtime.predict import alive_routes
from tidegate_runtime.protection import Protection
from tidegate_runtime.server import Server
from tidegate_runtime.serving import Observed, on_thread, serve_model, tracer_of
from tidegate_runtime.session import OrtModel
from tidegate_runtime.settings import Settings, read_settings
from tidegate_runtime.shadow import ShadowSender
from tidegate_runtime.siblings import wire
from tidegate_runtime.siblings.counts import Plain, Seconds
from tidegate_runtime.slots import Slots
from tidegate_runtime.statistics import Statistics, Sums
from tidegate_runtime.tracing import Tracer
from tidegate_runtime.watchdog import Watchdog

REPORT_SECONDS: Final = 0.1
ORPHANED: Final = 3


class BundleChanged(Temporary):
    """The folder of the bundle has another one in it than the main process has proved."""

    reason = "BundleChanged"


def main() -> int:
    """Serve until the main process says that it is over; the exit code."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_to_lines()
    door, line, life = (int(word) for word in sys.argv[1:4])
    lifeline.watch(life, lambda: os._exit(ORPHANED))
    return uvloop.run(_live(socket.socket(fileno=door), socket.socket(fileno=line)))


async def _live(door: socket.socket, line: socket.socket) -> int:
    """From the main process's first word to the last answer."""
    process = _Process()
    process.line = await wire.connect(line, process.receive)
    await process.greeted.wait()
    try:
        await process.become_ready()
    except TidegateError as error:
        process.line.send(wire.Failed(error.reason, one_line(str(error))))
        code = error.exit_code
    else:
        await process.serve(door)
        code = 0
    process.line.close()
    await process.line.ended.wait()  # what was said has left
    return code


@dataclass(slots=True)
class _Parts:
    """What there is once the main process has said what to serve."""

    settings: Settings
    hello: wire.Hello
    observed: Observed
    server: Server
    seconds: Seconds
    protection: Protection | None = None
    tracer: Tracer | None = None
    statistics: Statistics | None = None


class _Process:
    """One life."""

    line: wire.Line
    _parts: _Parts

    def __init__(self) -> None:
        self.greeted = asyncio.Event()
        self._no_more = asyncio.Event()
        self._taken = self._ended = 0  # connections: that came, and of whose end the main process knows

    def receive(self, message: object) -> None:
        """What the main process says."""
        match message:
            case wire.Hello():
                self._parts = _parts(message)
                self.greeted.set()
            case wire.Others(sums):
                if self._parts.statistics is not None:
                    self._parts.statistics.others = sums
            case wire.Aim(target):
                self._parts.observed.shadow.aim(target)
            case wire.Drain():
                self._parts.observed.health.phase = Phase.DRAINING
                self._parts.server.front.closing = True

    async def become_ready(self) -> None:
        """Load, prove, and put the model behind the server; raises TidegateError."""
        parts = self._parts
        parts.observed.watchdog.start()
        parts.protection = Protection.of(parts.settings)
        parts.server.guard(parts.protection)
        model = await on_thread(self._load)
        parts.protection.start()
        if parts.tracer is not None:
            parts.tracer.start()
        memory.keep_freed()
        serving = serve_model(model, parts.settings, parts.observed, parts.server, parts.tracer)
        parts.statistics = serving.engine.statistics
        parts.server.changed = self._look_who_left
        if parts.observed.health.phase is Phase.STARTING:
            parts.observed.health.phase = Phase.READY

    def _load(self) -> OrtModel:
        """The bundle is the one that the main process has proved; this process proves its own session, too."""
        settings, hello, lane = self._parts.settings, self._parts.hello, self._parts.observed.watchdog.lane()
        model = session.load(settings, lane, hello.measured)
        if model.digest != hello.digest:
            raise BundleChanged("the bundle is another one than when this server started", where=str(settings.bundle))
        golden.prove(model, settings, lane)
        collector = tracing.endpoint(settings.otlp_endpoint, os.environ)
        if collector is not None:
            self._parts.tracer = tracer_of(model, settings, collector, hello.instance)
        return model

    async def serve(self, door: socket.socket) -> None:
        """Until no more connections come and those that came are answered."""
        parts, loop = self._parts, asyncio.get_running_loop()
        parts.server.keep_time()
        self.line.send(wire.Ready(parts.observed.recorder.until()))
        self._report()
        door.setblocking(False)
        loop.add_reader(door, self._let_in, door)
        await self._no_more.wait()
        loop.remove_reader(door)
        parts.observed.health.phase = Phase.DRAINING
        await parts.server.end(lambda: True)  # the main process ends it when there is no more time
        if parts.tracer is not None:
            parts.tracer.stop()
        if parts.protection is not None:
            parts.protection.stop()
        self._report()

    def _let_in(self, door: socket.socket) -> None:
        try:
            for client in wire.taken(door):
                self._taken += 1
                if client is not None:
                    self._parts.server.take(client)
        except (EOFError, OSError):
            self._no_more.set()
        self._look_who_left()

    def _look_who_left(self) -> None:
        """Tell how many of those that came are gone, whether they ever were connections or not."""
        ended = self._taken - self._parts.server.connections
        if ended > self._ended:
            self.line.send(wire.Closed(ended - self._ended))
            self._ended = ended

    def _report(self) -> None:
        parts, observed = self._parts, self._parts.observed
        until = observed.recorder.until()
        more = further(parts.protection, parts.tracer, observed.explained)
        self.line.send(
            wire.Report(
                until=until,
                plain=Plain.of(observed.recorder, observed.shadow.dropped, more),
                seconds=parts.seconds.before(until),
                sums=parts.statistics.sums() if parts.statistics is not None else Sums(),
                queued=observed.admission.queued,
                unread=observed.admission.unread,
                in_flight=observed.admission.in_flight,
                hopeless=observed.health.reason,
            )
        )
        asyncio.get_running_loop().call_later(REPORT_SECONDS, self._report)


def _parts(hello: wire.Hello) -> _Parts:
    settings = replace(read_settings(hello.given, os.environ), workers=hello.processes)
    watchdog = Watchdog()
    health = Health(watchdog)
    counters, shadow = Counters(clock=hello.clock), ShadowSender(settings.identity_token_file)
    explained = ExplainCounts() if settings.explain else None
    slots = Slots(settings.explain, hello.slots)
    observed = Observed(watchdog, counters, shadow, Admission(hello.queue), health, explained, slots)
    base = server_routes(health, __version__, explains=settings.explain > 0) | alive_routes(health)
    server = Server(settings, observed.admission, base)
    return _Parts(settings, hello, observed, server, Seconds(counters))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a run that never ends, in a thread, must not keep the process
