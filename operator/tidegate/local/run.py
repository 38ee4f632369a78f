"""`tidegate run`: the deployments of a manifest on this machine, until somebody or `--once` ends it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tidegate.api.spec import ModelDeployment
from tidegate.errors import TidegateError
from tidegate.local.bundles import Bundles
from tidegate.local.children import Lifeline
from tidegate.local.deployment import Deployment, Surroundings
from tidegate.local.files import write_whole
from tidegate.local.front import Front
from tidegate.local.here import fitted, without_effect
from tidegate.local.machine import envoy_binary
from tidegate.local.manifest import ManifestFile
from tidegate.local.narrator import Narrator, Shown
from tidegate.local.proxy import PortTaken, Proxy, free_port
from tidegate.local.routes import Listen, ModelRoute
from tidegate.local.servers import Workplace
from tidegate.local.state import DeploymentState, State
from tidegate.plan.outcome import Outcome, outcome, overall, settled

POLL_SECONDS = 0.2
PORT_PATIENCE_SECONDS = 5.0  # a run that was killed leaves its Envoy for a moment
DRAIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    manifest: Path
    state: Path
    listen: Listen
    secrets: dict[str, Path]
    mounts: dict[str, Path]
    cache: Path
    device: str | None = None
    max_processes: int = 8
    once: bool = False
    timeout: float = 600.0
    report: Path | None = None


class Run:
    """One life of the runner."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.state = State(options.state)
        self.manifest = ManifestFile(options.manifest, options.listen.host)
        self.deployments: dict[str, Deployment] = {}
        self.narrator = Narrator(self._shown)
        self._lifeline = Lifeline.open()
        self._bundles = Bundles(options.cache, options.secrets, options.mounts, self.narrator.line)
        self._token = secrets.token_hex(32)
        self._states: dict[str, DeploymentState] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._commands: dict[str, dict[str, str]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended = asyncio.Event()
        self._code = 0
        self._news = False  # the manifest has changed and is not wholly taken up
        self._trouble = ""
        self._front: Front | None = None

    async def main(self) -> int:
        """Serve until a signal or, with `--once`, a decision; the exit code."""
        self.manifest.read()
        binary = envoy_binary()
        self.state.open()
        proxy = Proxy(binary, await self._port(), self.state.folder / "envoy.log", self._lifeline)
        self._front = Front(proxy)
        self._clean_after_the_killed()
        write_whole(self._token_file, self._token.encode(), mode=0o600)
        self._on_signals()
        try:
            await self._serve(proxy)
        finally:
            await self._stop(proxy)
        self._report()
        return self._code

    def _report(self) -> None:
        """The page that `--report` asks for."""
        if self.options.report and self._states:
            from tidegate.report import write_report  # half a second of imports that a run without it saves

            write_report([state.folder for state in self._states.values()], self.options.report)
            self.narrator.line(f"  wrote {self.options.report}")

    @property
    def _token_file(self) -> Path:
        return self.state.folder / "token"

    async def _port(self) -> Listen:
        """A port that is free, or becomes it when what a killed run left behind has ended."""
        deadline = time.monotonic() + (PORT_PATIENCE_SECONDS if self.state.run().get("pid") else 0.0)
        while True:
            try:
                return free_port(self.options.listen)
            except PortTaken:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(POLL_SECONDS)

    def _clean_after_the_killed(self) -> None:
        """The short folder of sockets that a killed run could not take away."""
        left = str(self.state.run().get("folder") or "")
        if Path(left).name.startswith("tidegate-") and Path(left).parent == self._proxy.folder.parent:
            shutil.rmtree(left, ignore_errors=True)

    @property
    def _proxy(self) -> Proxy:
        assert self._front
        return self._front.proxy

    async def _serve(self, proxy: Proxy) -> None:
        self.narrator.start()
        for manifest in self.manifest.deployments:
            self._add(manifest)
        assert self._front
        await proxy.start(self._front.routes, self._envoy_is_back)
        self._write_run(pid=os.getpid())
        for name, deployment in self.deployments.items():
            self.narrator.line(f"{name} on {self._front.url(name)}/infer")
            self._tasks[name] = asyncio.create_task(deployment.serve())
        await self._watch()

    def _add(self, manifest: ModelDeployment) -> None:
        """Know a deployment; its turns begin when its task does."""
        name = manifest.metadata.name
        state = self.state.of(name)
        state.prepare()
        for sentence in without_effect(manifest.spec):
            self.narrator.line(f"  {name}: {sentence}")
        changed = self._changed[name] = asyncio.Event()
        place = Workplace(
            name, state.servers, self._lifeline, self._token, self._token_file, self.options.device, changed.set,
            self.narrator.event, self.options.secrets,
        )  # fmt: skip
        assert self._front
        around = Surroundings(state, place, self._front, self._bundles, self.narrator.event, changed)
        self._states[name] = state
        self._commands[name] = state.commands()
        self._front.add(ModelRoute(name, hostnames=manifest.spec.routing.hostnames))
        self.deployments[name] = Deployment(name, fitted(manifest.spec, self.options.max_processes), around)

    def _envoy_is_back(self) -> None:
        self.narrator.line("! Envoy ended and was started again")
        for event in self._changed.values():
            event.set()

    def _write_run(self, *, pid: int | None) -> None:
        """What the commands need to find this run; without a pid it has ended in order."""
        document: dict[str, Any] = {
            "manifest": str(self.options.manifest.resolve()),
            "manifestDigest": self.manifest.digest,
            "problem": self.manifest.problem,
            "url": f"http://{self._proxy.listen.host}:{self._proxy.listen.port}",
            "deployments": sorted(self.deployments),
            "envoy": self._proxy.pid,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        running = {"pid": pid, "folder": str(self._proxy.folder)} if pid else {}
        self.state.write_run(document | running)

    async def _watch(self) -> None:
        """Look after the manifest, the commands and the end, a few times per second."""
        deadline = time.monotonic() + self.options.timeout
        while not self._ended.is_set():
            try:
                await self._look()
                self._trouble = ""
            except (OSError, TidegateError) as error:  # a full disk, say: told once and tried again
                self._in_trouble(error)
            if self.options.once:
                self._end_when_settled(time.monotonic() > deadline)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._ended.wait()

    def _remember_again(self) -> None:
        """Somebody has removed the state: what is known goes on."""
        self.narrator.line(f"! {self.state.folder} has been removed: it is written again")
        self.state.close()
        self.state.open()
        for name, state in self._states.items():
            state.prepare()
            self.deployments[name].remember_again()
        self._write_run(pid=os.getpid())
        write_whole(self._token_file, self._token.encode(), mode=0o600)

    async def _look(self) -> None:
        if not self._token_file.exists():
            self._remember_again()
        for name, state in self._states.items():
            if (commands := state.commands()) != self._commands[name]:
                self._commands[name] = commands
                self._changed[name].set()
        if await asyncio.to_thread(self.manifest.changed):
            self._news = True
            problem = self.manifest.problem
            told = f"! the manifest is not used, what serves stays: {problem}" if problem else ""
            self.narrator.line(told or f"  {self.manifest.path} was read again")
        if self._news:
            await self._reread()
            self._news = False

    def _in_trouble(self, error: OSError | TidegateError) -> None:
        trouble = str(error)
        if trouble != self._trouble:
            self._trouble = trouble
            self.narrator.line(f"! what serves stays: {trouble}")

    def _end_when_settled(self, overdue: bool) -> None:
        found = [outcome(one.status, one.generation) for one in self.deployments.values()]
        if settled(found) or overdue:
            self.end(int(overall(found)))

    def end(self, code: int) -> None:
        self._code = code
        self._ended.set()

    async def _reread(self) -> None:
        """Take what the manifest says now; nonsense changes nothing of what serves. Done twice it does no more."""
        if self.manifest.problem:
            return self._write_run(pid=os.getpid())
        wanted = {one.metadata.name: one for one in self.manifest.deployments}
        for name in set(self.deployments) - set(wanted):
            await self._remove(name)
        for name, manifest in wanted.items():
            if name in self.deployments:
                self.deployments[name].apply(fitted(manifest.spec, self.options.max_processes))
            else:
                self._add(manifest)
                self._tasks[name] = asyncio.create_task(self.deployments[name].serve())
        return self._write_run(pid=os.getpid())

    async def _remove(self, name: str) -> None:
        """A deployment that is no longer in the file: its route goes, then its servers drain."""
        self.narrator.line(f"  {name} is no longer in the manifest: its servers drain")
        deployment = self.deployments.pop(name)
        task = self._tasks.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert self._front
        await self._front.remove(name)
        deployment.fleet.stop_others(())
        await deployment.stop()
        for kept in (self._states, self._changed, self._commands):
            kept.pop(name)

    def _on_signals(self) -> None:
        """Ctrl-C and SIGTERM end the run in order; a second one at once, and the lifeline ends the children."""
        loop = asyncio.get_running_loop()
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 0)):
            loop.add_signal_handler(number, self._signalled, code)

    def _signalled(self, code: int) -> None:
        if self._ended.is_set():
            sys.stderr.write("ended at once\n")
            os._exit(code or 1)
        self.narrator.line("  draining; once more ends at once")
        self.end(code)

    async def _stop(self, proxy: Proxy) -> None:
        """No new requests, the ones under way to their end, then the servers, all together."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await proxy.stop(DRAIN_SECONDS)
        await asyncio.gather(*(deployment.stop() for deployment in self.deployments.values()))
        self._bundles.close()
        with contextlib.suppress(OSError):  # without it the lock alone says that the run has ended
            self._write_run(pid=None)
        self.narrator.stop()
        self._lifeline.close()
        self.state.close()

    def _shown(self) -> list[Shown]:
        return [Shown(name, one.status, one.course.row) for name, one in self.deployments.items()]


def run(options: Options) -> int:
    """Run to the end; the exit code. Raises the errors that keep it from starting."""
    return asyncio.run(Run(options).main())


__all__ = ["Options", "Outcome", "Run", "run"]
