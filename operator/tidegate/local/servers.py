"""The server processes of one deployment: started, watched, started again when they die, drained when not wanted.

A slot is one place for a server of a revision; its task lives one process after another until it is cancelled, and
then drains the last one.  What a slot knows (ports, readiness, why the latest life ended) is read by `observe.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from tidegate.api.runtime import explain_flags, provider_options, request_log_flags
from tidegate.errors import TidegateError
from tidegate.internal.calls import Address, Answer, NoAnswer, call
from tidegate.local.children import Lifeline, Start, child_environment, last_lines, start_child, stop_child
from tidegate.local.failures import ended, failure_of, not_ready, shortened
from tidegate.local.guarding import guarding_flags
from tidegate.plan.observed import Failure, FailureClass, RevisionRecord
from tidegate.plan.wanted import Event, RevisionWanted

LISTEN_SECONDS = 120.0
READY_SECONDS = 15 * 60.0
POLL_SECONDS = 0.05
LOOK_SECONDS = 1.0
DEAD_AFTER = 3  # liveness probes in a row without a good answer
BACKOFF_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # before the first, second, … start in a row that fails
CONTENT_BACKOFF_SECONDS = 30.0  # the same bytes give the same answer: a plan will drop this revision first
STEADY_SECONDS = 60.0  # ready for so long: earlier deaths are forgotten
LEAVE_SECONDS = 0.5  # between the route's last request to a server and its end: Envoy's threads are told in turn
KILL_AFTER = timedelta(seconds=2)  # beyond the grace period
LOG_LIMIT = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Workplace:
    """What all servers of a deployment share."""

    model: str
    folder: Path  # logs, last words, TensorRT's engines
    lifeline: Lifeline
    token: str
    token_file: Path
    device: str | None  # overrides the manifest's
    changed: Callable[[], None]  # something that a plan should know
    tell: Callable[[str, Event], None]  # something that a person should know
    secrets: Mapping[str, Path] = field(default_factory=dict)  # what --secret gave


Bundle = Callable[[RevisionRecord], Awaitable[Path]]  # the folder of a revision's own bytes


def milliseconds(duration: timedelta) -> str:
    return f"{round(duration / timedelta(milliseconds=1))}ms"


def serve_command(place: Workplace, wanted: RevisionWanted, bundle: Path, last_words: Path) -> list[str]:
    """The command line of a server; raises SecretMissing where the manifest names one that was not given.

    `-P`: nothing in the current folder can take the place of its modules.
    """
    runtime = wanted.record.runtime
    device = place.device or runtime.device
    flags: dict[str, object] = {
        "bundle": bundle,
        "name": place.model,
        "revision": wanted.record.revision,
        "revision-number": wanted.record.number,
        "host": "127.0.0.1",
        "http-port": 0,
        "grpc-port": "off",  # the route in front speaks HTTP only
        "metrics-host": "127.0.0.1",
        "metrics-port": 0,
        "internal-token-file": place.token_file,
        "lifeline-fd": place.lifeline.reading,
        "termination-log": last_words,
        "device": device,
        "golden": wanted.golden,
        "sessions": runtime.sessions,
        "intra-op": runtime.threads.intra_op,
        "inter-op": runtime.threads.inter_op,
        "max-batch-size": runtime.batching.max_size,
        "max-batch-delay": milliseconds(runtime.batching.max_delay),
        "queue": runtime.queue.max_length,
        "queue-timeout": milliseconds(runtime.queue.timeout),
        "drain-delay": "0ms",
        "drain": milliseconds(runtime.grace),
        **explain_flags(runtime),
        **request_log_flags(runtime, str(place.folder / "audit.log"), str(place.folder / "access.log")),
        **guarding_flags(runtime, place.secrets),
    }
    if device == "tensorrt":
        flags["engine-cache"] = place.folder / "engines"
    if given := provider_options(runtime, device):
        flags["provider-options"] = given
    options = [text for name, value in flags.items() for text in (f"--{name}", str(value))]
    return [sys.executable, "-P", "-m", "tidegate_runtime", "serve", *options]


class Server:
    """One slot: a revision's server, again and again."""

    def __init__(self, place: Workplace, bundle: Bundle, wanted: RevisionWanted, slot: int) -> None:
        self.wanted = wanted
        self.slot = slot
        self.http_port = 0
        self.metrics_port = 0
        self.ready = False
        self.failure: Failure | None = None
        self.deaths = 0  # in a row
        self._place = place
        self._bundle = bundle
        self._process: asyncio.subprocess.Process | None = None
        self._log_begin = 0  # of the latest life
        self._task = asyncio.create_task(self._live_on())

    @property
    def revision(self) -> str:
        return self.wanted.record.revision

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def internal(self) -> Address:
        return Address(port=self.metrics_port, token=self._place.token)

    @property
    def device(self) -> str:
        return self._place.device or str(self.wanted.record.runtime.device)

    @property
    def _log(self) -> Path:
        return self._place.folder / f"{self.revision}-{self.slot}.log"

    @property
    def _last_words(self) -> Path:
        return self._place.folder / f"{self.revision}-{self.slot}.termination"

    async def stop(self) -> None:
        """Drain the server and end its slot."""
        self.ready = False
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _live_on(self) -> None:
        while True:
            failure = await self._life()
            self.ready = False
            self.failure = failure
            self.deaths += 1
            self._tell(failure)
            self._place.changed()
            await asyncio.sleep(backoff(failure, self.deaths))

    def _tell(self, failure: Failure) -> None:
        """Say why a server died; of bytes that are refused its deployment tells, once."""
        if failure.class_ is FailureClass.ENVIRONMENT:
            what = f"version {self.wanted.record.resolution.version}: {failure.message}"
            self._place.tell(self._place.model, Event("Warning", failure.reason, what, self.revision))

    async def _life(self) -> Failure:
        """One process from its start to its end, and why it ended."""
        try:
            bundle = await self._bundle(self.wanted.record)
            self._process = process = await self._start_whole(bundle)
        except (TidegateError, OSError) as error:
            return failure_of(error)
        patience = self.wanted.record.runtime.grace + KILL_AFTER
        try:
            failure = await self._watch(process)
            patience = KILL_AFTER  # it is dead, or answers nobody
        finally:
            await stop_child(process, patience.total_seconds())
        return failure

    async def _start_whole(self, bundle: Path) -> asyncio.subprocess.Process:
        """Start a process; a cancellation waits until it is there, so that it does not outlive its slot."""
        starting = asyncio.create_task(self._start(bundle))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await stop_child(await starting, KILL_AFTER.total_seconds())
            raise

    async def _start(self, bundle: Path) -> asyncio.subprocess.Process:
        if self._log.exists() and self._log.stat().st_size > LOG_LIMIT:
            self._log.replace(self._log.with_suffix(".1.log"))
        self._log_begin = self._log.stat().st_size if self._log.exists() else 0
        self._last_words.unlink(missing_ok=True)
        extra = {variable.name: variable.value for variable in self.wanted.record.runtime.env}
        command = serve_command(self._place, self.wanted, bundle, self._last_words)
        return await start_child(Start(command, self._log, child_environment(extra), (self._place.lifeline.reading,)))

    async def _watch(self, process: asyncio.subprocess.Process) -> Failure:
        """Follow a process until it has ended or has to be ended."""
        watching = asyncio.create_task(self._follow(process))
        dying = asyncio.create_task(process.wait())
        try:
            await asyncio.wait({watching, dying}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done() and process.returncode is None:
                return watching.result()
            return ended(await dying, self._last_words, last_lines(self._log, self._log_begin), in_a_row=self.deaths)
        finally:
            for task in (watching, dying):
                task.cancel()
            await asyncio.gather(watching, dying, return_exceptions=True)

    async def _follow(self, process: asyncio.subprocess.Process) -> Failure:
        """Wait for the ports, then for readiness, then probe; returns when the process must be ended."""
        assert process.stdout
        try:
            async with asyncio.timeout(
                LISTEN_SECONDS
            ):  # not wait_for, which before Python 3.12 can lose a cancellation
                line = await process.stdout.readline()
        except TimeoutError:
            return not_ready(f"no port within {LISTEN_SECONDS:.0f} s")
        if not self._listening(line):
            await process.wait()  # it ends without listening; the exit says why
            return not_ready("it ended before it listened")
        deadline = time.monotonic() + READY_SECONDS
        while not await self._answers("/readyz"):
            if time.monotonic() > deadline:
                return not_ready(f"not ready within {READY_SECONDS:.0f} s")
            await asyncio.sleep(POLL_SECONDS)
        self._is_ready(now=True)
        return await self._probe()

    def _listening(self, line: bytes) -> bool:
        try:
            said = json.loads(line)
            self.http_port, self.metrics_port = int(said["http"]), int(said["metrics"])
        except (ValueError, KeyError, TypeError):
            return False
        return True

    async def _probe(self) -> Failure:
        began = time.monotonic()
        misses = 0
        while misses < DEAD_AFTER:
            await asyncio.sleep(LOOK_SECONDS)
            self._is_ready(now=await self._answers("/readyz"))
            misses = 0 if self.ready or await self._answers("/livez") else misses + 1
            if self.ready and time.monotonic() - began > STEADY_SECONDS:
                self.deaths = 0
        return not_alive(await self._asked("/livez"))

    def _is_ready(self, *, now: bool) -> None:
        if now:
            self.failure = None
        if now != self.ready:
            self.ready = now
            self._place.changed()

    async def _answers(self, path: str) -> bool:
        answer = await self._asked(path)
        return answer is not None and answer.status == 200  # noqa: PLR2004

    async def _asked(self, path: str) -> Answer | None:
        try:
            return await call(self.internal, "GET", path)
        except NoAnswer:
            return None


def not_alive(said: Answer | None) -> Failure:
    """Why a server that fails its liveness probe is ended, by what it says there of itself."""
    reason, colon, sentence = ("" if said is None else said.body.decode(errors="replace").strip()).partition(": ")
    if not colon:
        reason, sentence = "RunStuck", "the server no longer answers its liveness probe"
    return Failure(FailureClass.ENVIRONMENT, reason, shortened(sentence))


def backoff(failure: Failure, deaths: int) -> float:
    if failure.class_ is FailureClass.CONTENT:
        return CONTENT_BACKOFF_SECONDS
    return BACKOFF_SECONDS[min(deaths, len(BACKOFF_SECONDS)) - 1]


class Fleet:
    """All servers of one deployment."""

    def __init__(self, place: Workplace, bundle: Bundle) -> None:
        self._place = place
        self._bundle = bundle
        self.servers: list[Server] = []
        self._draining: set[asyncio.Task[None]] = set()

    def of(self, revision: str) -> list[Server]:
        return [server for server in self.servers if server.revision == revision]

    def start(self, wanted: Iterable[RevisionWanted]) -> None:
        """Have at least the wanted servers; those that are there already stay as they are."""
        for revision in wanted:
            taken = {server.slot for server in self.of(revision.record.revision)}
            missing = [slot for slot in range(revision.replicas) if slot not in taken]
            self.servers += [Server(self._place, self._bundle, revision, slot) for slot in missing]

    def stop_others(self, wanted: Iterable[RevisionWanted], in_use: Container[str] = ()) -> None:
        """Drain, in the background, every server beyond the wanted ones, except of revisions with traffic."""
        counts = {revision.record.revision: revision.replicas for revision in wanted}
        gone = [one for one in self.servers if one.slot >= counts.get(one.revision, 0) and one.revision not in in_use]
        for server in gone:
            self.servers.remove(server)
            task = asyncio.create_task(self._let_go(server))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)
        if gone:
            self._place.changed()  # the route may still name their ports

    async def _let_go(self, server: Server) -> None:
        await asyncio.sleep(LEAVE_SECONDS)
        await server.stop()

    async def stop(self) -> None:
        """Drain all servers, to which nobody sends requests any more, and wait for the last one."""
        await asyncio.gather(*(server.stop() for server in self.servers), *self._draining)
        self.servers.clear()
