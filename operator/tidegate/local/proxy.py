"""The Envoy in front: started, kept alive, and told new routes without a restart.

An update is three file renames, each confirmed by the version that Envoy shows in its statistics before the next:
clusters and endpoints of old and new together, then the routes, then the old clusters go.  So no route ever names
a cluster that is not there yet, and no connection is cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tidegate.errors import Failed, UsageError
from tidegate.internal.calls import Address, NoAnswer, call
from tidegate.local import envoy
from tidegate.local.children import Lifeline, Start, child_environment, last_lines, start_child, stop_child
from tidegate.local.files import write_json
from tidegate.local.routes import Listen, ModelRoute

GUARD = Path(__file__).with_name("guard.py")
START_SECONDS = 15.0
TAKE_SECONDS = 5.0
POLL_SECONDS = 0.01
RESTART_SECONDS = (0.0, 0.1, 0.2, 0.5)  # before the first, second, … restart in a row; the last one repeats
HEALTHY_SECONDS = 10.0
GOODBYE_SECONDS = 0.5  # for clients that keep connections: their next answer says that it was the last
LOG_LIMIT = 4 * 1024 * 1024
ROUTES_VERSION = f"http.{envoy.STAT_PREFIX}.rds.{envoy.ROUTES}.version_text"
CLUSTERS_VERSION = "cluster_manager.cds.version_text"


class PortTaken(Failed):
    """Somebody else listens there."""

    reason = "PortTaken"


class ProxyFailed(Failed):
    """Envoy does not start, or does not take an update."""

    reason = "ProxyFailed"


def free_port(listen: Listen) -> Listen:
    """`listen` with a numeric address and a real port; raises PortTaken when it is in use."""
    where = f"{listen.host}:{listen.port}"
    try:
        family, kind, _, _, address = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise UsageError("this is no address of this machine", where=f"--host {listen.host}") from None
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise UsageError("this is no address of this machine", where=f"--host {listen.host}") from None
            raise PortTaken(
                f"cannot listen: {error.strerror or error}",
                where=where,
                do="stop what listens there, or choose another with --port",
            ) from None
        return Listen(str(address[0]), probe.getsockname()[1])


class Proxy:
    """One Envoy process and the routes it has."""

    def __init__(self, binary: Path, listen: Listen, log: Path, lifeline: Lifeline) -> None:
        self.listen = listen
        self.acknowledged: tuple[ModelRoute, ...] | None = None  # None: Envoy has not taken any yet
        self.restarts = 0
        self._binary = binary
        self._log = log
        self._lifeline = lifeline
        self._wanted: tuple[ModelRoute, ...] = ()
        self._known: tuple[ModelRoute, ...] = ()  # all that may be in effect: what the next update is a step from
        self._in_doubt = False
        self._version = 0
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._updating = asyncio.Lock()
        # A socket's path has at most 107 characters, and a state folder may be anywhere: so a short folder of its own.
        self.folder = Path(tempfile.mkdtemp(prefix="tidegate-"))
        self._admin = Address(socket=self.folder / "admin.sock")

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self, models: tuple[ModelRoute, ...], on_restart: Callable[[], None]) -> None:
        """Start Envoy with these routes and keep it alive until `stop`; raises ProxyFailed."""
        write_json(self.folder / "bootstrap.json", envoy.bootstrap(self.listen, self.folder, self._admin_path))
        self._wanted = models
        self._write_all(models)
        self._process = await self._spawn()
        await self._until_ready()
        self.acknowledged = models
        self._keeper = asyncio.create_task(self._keep_alive(on_restart))

    @property
    def _admin_path(self) -> Path:
        return self.folder / "admin.sock"

    def _write_all(self, models: tuple[ModelRoute, ...]) -> None:
        self._write_clusters(models, models)
        self._write_routes(models)
        self._known = models

    def _write_clusters(self, kept: tuple[ModelRoute, ...], models: tuple[ModelRoute, ...]) -> str:
        """Clusters of `kept` and `models` with the endpoints of `models` where both have them; the new version."""
        self._version += 1
        version = str(self._version)
        union = merged(kept, models)
        for name, document in envoy.endpoints(union, version).items():
            write_json(envoy.endpoints_file(self.folder, name), document, durable=False)
        write_json(self.folder / "clusters.json", envoy.clusters(union, self.folder, version), durable=False)
        return version

    def _write_routes(self, models: tuple[ModelRoute, ...]) -> str:
        self._version += 1
        write_json(self.folder / "routes.json", envoy.routes(models, str(self._version)), durable=False)
        return str(self._version)

    async def publish(self, models: tuple[ModelRoute, ...]) -> None:
        """Have Envoy route by `models`; returns when it does. Raises ProxyFailed when it does not in time."""
        async with self._updating:
            self._wanted = models
            if models == self.acknowledged and not self._in_doubt:
                return
            self._in_doubt = True  # until it is taken either may be in effect: clusters of both stay
            kept, self._known = self._known, merged(self._known, models)
            version = self._write_clusters(kept, models)
            names = {model.cluster(backend.revision) for model in models for backend in model.backends}
            statistics = {CLUSTERS_VERSION, *(f"cluster.{name}.version_text" for name in names)}
            await self._taken(statistics, version)
            await self._taken({ROUTES_VERSION}, self._write_routes(models))
            self._known = self.acknowledged = models
            self._in_doubt = False
            self._write_clusters((), models)

    async def _taken(self, statistics: set[str], version: str) -> None:
        deadline = time.monotonic() + TAKE_SECONDS
        while time.monotonic() < deadline:
            shown = await self._texts()
            if all(shown.get(name) == version for name in statistics):
                return
            await asyncio.sleep(POLL_SECONDS)
        raise ProxyFailed(f"Envoy did not take an update within {TAKE_SECONDS:.0f} s", do=last_lines(self._log))

    async def _texts(self) -> dict[str, str]:
        """The text statistics; none while Envoy does not answer."""
        with contextlib.suppress(NoAnswer):
            answer = await call(self._admin, "GET", "/stats?type=TextReadouts")
            lines = (line.rpartition(": ") for line in answer.body.decode().splitlines())
            return {name: value.strip('"') for name, _, value in lines}
        return {}

    async def ready(self) -> bool:
        try:
            return (await call(self._admin, "GET", "/ready")).status == 200  # noqa: PLR2004
        except NoAnswer:
            return False

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if await self.ready():
                return
            if self._process is None or self._process.returncode is not None:
                break
            await asyncio.sleep(POLL_SECONDS)
        raise ProxyFailed("Envoy did not start", where=str(self._log), do=last_lines(self._log))

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._admin_path.unlink(missing_ok=True)
        if self._log.exists() and self._log.stat().st_size > LOG_LIMIT:
            self._log.replace(self._log.with_suffix(".1.log"))
        envoy_command = [
            str(self._binary), "--config-path", str(self.folder / "bootstrap.json"), "--disable-hot-restart",
            "--log-level", "warning", "--concurrency", str(max(1, min(4, (os.cpu_count() or 1) // 2))),
        ]  # fmt: skip
        guard = [sys.executable, "-I", "-S", str(GUARD), str(self._lifeline.reading)]
        return await start_child(
            Start([*guard, *envoy_command], self._log, child_environment({}), (self._lifeline.reading,))
        )

    async def _keep_alive(self, on_restart: Callable[[], None]) -> None:
        """Whenever Envoy ends, start it again on the same port with what it is wanted to route."""
        in_a_row = 0
        while True:
            assert self._process
            began = time.monotonic()
            await self._process.wait()
            in_a_row = 0 if time.monotonic() - began > HEALTHY_SECONDS else in_a_row + 1
            await asyncio.sleep(RESTART_SECONDS[min(in_a_row, len(RESTART_SECONDS)) - 1] if in_a_row else 0)
            self._process = await self._spawn()
            with contextlib.suppress(ProxyFailed):
                await self._until_ready()
                self.restarts += 1
                on_restart()

    async def _clients(self, what: str) -> int:
        name = f"http.{envoy.STAT_PREFIX}.downstream_{what}_active"
        answer = await call(self._admin, "GET", f"/stats?filter=^{name}$")
        count = answer.body.decode().rpartition(": ")[2].strip()
        return int(count) if count.isdigit() else 0

    async def stop(self, patience: float) -> None:
        """Take no new connections, let the requests under way end within `patience` seconds, end Envoy."""
        if self._keeper:
            self._keeper.cancel()
        if self._process and self._process.returncode is None:
            with contextlib.suppress(NoAnswer):
                await self._drain(patience)
            await stop_child(self._process, patience=3.0)
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _drain(self, patience: float) -> None:
        await call(self._admin, "POST", "/healthcheck/fail")  # answers now say `Connection: close`
        await self._until_none("cx", GOODBYE_SECONDS)
        await call(self._admin, "POST", "/drain_listeners")  # new clients are refused
        await self._until_none("rq", patience)
        await self._until_none("cx", GOODBYE_SECONDS)

    async def _until_none(self, what: str, seconds: float) -> None:
        """Wait until clients have no connections (`cx`) or requests (`rq`) any more, or the time is over."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not await self._clients(what):
                return
            await asyncio.sleep(POLL_SECONDS)


def merged(kept: tuple[ModelRoute, ...], models: tuple[ModelRoute, ...]) -> tuple[ModelRoute, ...]:
    """`models`, and of `kept` what they no longer have, so that routes still in use find their clusters."""
    have = {model.cluster(backend.revision) for model in models for backend in model.backends}
    left = [
        ModelRoute(model.model, backends=tuple(b for b in model.backends if model.cluster(b.revision) not in have))
        for model in kept
    ]
    return (*models, *(model for model in left if model.backends))
