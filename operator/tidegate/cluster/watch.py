"""kopf carries the watches and decides nothing: what they show goes into the cache and wakes its deployment.

It does so on its way to kopf (`listening.py`), whose handlers are there because kopf watches only what has one.  They
are `on.event` handlers: every other kind writes (a finalizer that hangs deletions, the whole spec in an annotation),
and kopf's indexes are quadratic.  Its storages are replaced by ones that hold nothing, so that it never finds anything
to write.  What was measured and read of kopf 1.45.2, and is dealt with here:

- a watcher dies of an outage longer than its list of pauses: ours has no end;
- and then it waits for ever with 403 too: in single namespaces, whose role cannot list them all, it scans nothing;
- it takes SIGINT and SIGTERM for itself: `spawned` is called when that has happened, to take them back;
- its own runner cancels every task that began after it, ours included, and may wait for ever: we run its tasks;
- when one watcher fails the others go on: we end them;
- it kills the process half a minute after any end that it was not told of by its stop flag: that is always set;
- for a peering that we do not have it asks for the user's name, and a pod's user has none: it is given one;
- it looks for kinds when a definition changes, and never again where the API server serves one only a moment later:
  whoever notices lets the watches begin anew;
- a kind that the cluster does not have it leaves alone, and begins to watch when its definition comes (not in single
  namespaces: there it looks once);
- credentials that were refused once are never used again, and without any it waits in silence: a session is new each
  time, and logging in again slows down.

Watches end after two minutes: then a kind is heard of at least that often, and 150 s of silence are a fault.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import aiohttp
import kopf

from tidegate.cluster.api import Key
from tidegate.cluster.connection import Counted, uncounted
from tidegate.cluster.listening import Listener, open_session
from tidegate.cluster.login import Login
from tidegate.cluster.seen import Cache
from tidegate.plan.manifests.identity import (
    CHILD_KINDS,
    ENDPOINTS,
    GROUP,
    LABEL_DEPLOYMENT,
    LABEL_MANAGED_BY,
    MANAGER,
    MODEL_DEPLOYMENT,
    POD,
    ROUTE_KINDS,
    SCALED_OBJECT,
    Kind,
)

log = logging.getLogger(__name__)

KINDS = (MODEL_DEPLOYMENT, *CHILD_KINDS, POD, ENDPOINTS)
OURS = f"{LABEL_MANAGED_BY}={MANAGER}"
SELECTORS = dict.fromkeys((*CHILD_KINDS, *ROUTE_KINDS, SCALED_OBJECT), OURS) | dict.fromkeys(
    (POD, ENDPOINTS), LABEL_DEPLOYMENT
)
PAUSES = (1, 1, 2, 3, 5, 8, 13, 21)
LAST_PAUSE = 30
RELIST_PAUSE = 1.0
LOGIN_PAUSES = (0, 1, 2, 5, 10, 30)
LOGIN_MEMORY_SECONDS = 300.0
STOP_SECONDS = 5.0
KOPF = str(Path(kopf.__file__).parent)


def nothing() -> None:
    """For who has no signals to take back."""


class EndlessPauses:
    """Pauses between attempts that never run out, however often they are gone through."""

    def __iter__(self) -> Iterator[float]:
        yield from PAUSES
        while True:
            yield LAST_PAUSE


class NoDiffBase(kopf.DiffBaseStorage):  # type: ignore[misc, unused-ignore]
    """kopf keeps no copy of a spec anywhere, and compares none."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None


class NoProgress(kopf.ProgressStorage):  # type: ignore[misc, unused-ignore]
    """kopf notes nothing of handlers' progress anywhere."""

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


def watch_settings(namespaces: Sequence[str]) -> kopf.OperatorSettings:
    """kopf's settings; the beginning of this module says why."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True  # the Lease instead
    settings.posting.enabled = False
    settings.scanning.disabled = bool(namespaces)
    settings.watching.server_timeout, settings.watching.client_timeout = 120, 130
    settings.watching.connect_timeout = 10
    settings.watching.reconnect_backoff = RELIST_PAUSE  # a watch that always fails must not list ten times a second
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = 500
    for kind, selector in SELECTORS.items():
        settings.watching.label_selectors[(*group_version(kind), kind.plural)] = selector
    settings.networking.request_timeout, settings.networking.connect_timeout = 30, 5
    settings.networking.error_backoffs = EndlessPauses()
    settings.networking.enforce_retry_after = True
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 0.5  # a task per object that was heard of, and it holds the object
    settings.execution.max_workers = 1
    settings.process.ultimate_exiting_timeout = None
    settings.persistence.finalizer = f"{GROUP}/never-written"  # one that is found, kopf would take away
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.progress_storage = NoProgress()
    return settings


def group_version(kind: Kind) -> tuple[str, str]:
    group, _, version = kind.api_version.rpartition("/")
    return group, version


class Watches:
    """All watches of the operator. `run` once; `filled` is set when every kind was listed."""

    def __init__(
        self,
        login: Login,
        cache: Cache,
        changed: Callable[[Key], None],
        namespaces: Sequence[str] = (),
        counted: Counted = uncounted,
        *,
        keda: bool = False,
    ) -> None:
        self.kinds = (*KINDS, SCALED_OBJECT) if keda else KINDS
        self.listener = Listener(self.kinds, namespaces, cache, changed, optional=ROUTE_KINDS)
        self.settings = watch_settings(namespaces)
        self._login = login
        self._namespaces = namespaces
        self._counted = counted
        self._sessions: list[aiohttp.ClientSession] = []
        self._logins: list[float] = []
        self._anew = asyncio.Event()

    @property
    def filled(self) -> asyncio.Event:
        return self.listener.filled

    def registry(self) -> kopf.OperatorRegistry:
        """A handler per kind, and the login; no global registry, no other kind of handler."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry, id="login", backoff=5, errors=kopf.ErrorsMode.TEMPORARY)(self._log_in)
        for kind in (*self.kinds, *ROUTE_KINDS):
            group, version = group_version(kind)
            kopf.on.event(group=group, version=version, plural=kind.plural, registry=registry, id=kind.plural)(heard)
        return registry

    async def run(self, stop: asyncio.Event, spawned: Callable[[], None] = nothing) -> None:
        """Watch until `stop`; raises what ended the watches before that: then this process cannot go on."""
        while not stop.is_set():
            self._anew.clear()
            await self._run(stop, spawned)

    def begin_anew(self) -> None:
        """Look for all kinds again; what is cached stays."""
        self._anew.set()

    async def _run(self, stop: asyncio.Event, spawned: Callable[[], None]) -> None:
        ended = asyncio.Event()
        self.listener.hear_of_all()
        tasks = await kopf.spawn_tasks(
            registry=self.registry(),
            settings=self.settings,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=ended,
            identity=cast("Any", MANAGER),
        )
        spawned()
        wishes = {asyncio.create_task(event.wait(), name="end of the watches") for event in (stop, self._anew)}
        try:
            await asyncio.wait({*wishes, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.set()  # first: without it kopf has the process killed
            self.listener.forget()
            await self._end({*wishes, *tasks})
        raise_first(tasks, unless=stop.is_set() or self._anew.is_set())

    async def _end(self, tasks: set[asyncio.Task[Any]]) -> None:
        """In this order: a watcher whose own helpers were cancelled before it waits for them for ever."""
        await cancelled(tasks)
        await cancelled({task for task in tasks_of_kopf() if task.get_name().startswith("watcher for ")})
        await cancelled(tasks_of_kopf())
        for session in self._sessions:
            await session.close()
        self._sessions.clear()

    async def _log_in(self, **_: Any) -> kopf.AiohttpSession:
        """Called at the start and after every 401; ever more slowly when it is called again and again."""
        now = time.monotonic()
        self._logins = [at for at in self._logins if now - at < LOGIN_MEMORY_SECONDS]
        pause = LOGIN_PAUSES[min(len(self._logins), len(LOGIN_PAUSES) - 1)]
        self._logins.append(now)
        if pause:
            log.warning("the API server did not accept our credentials: read again in %s s", pause)
        await asyncio.sleep(pause)
        self._login.renew()
        session = open_session(self._login, self.listener, self._counted)
        self._sessions = [*(one for one in self._sessions if not one.closed), session]
        return kopf.AiohttpSession(server=self._login.server, aiohttp_session=session)


async def heard(**_: Any) -> None:
    """What kopf would call with an event; the listener has had it."""


def tasks_of_kopf() -> set[asyncio.Task[Any]]:
    """Tasks that run kopf's code, whoever began them."""
    return {task for task in asyncio.all_tasks() if code_of(task).startswith(KOPF)}


def code_of(task: asyncio.Task[Any]) -> str:
    """The file that a task's code is from."""
    code = getattr(task.get_coro(), "cr_code", None)
    return str(code.co_filename) if code else ""


async def cancelled(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel them and wait for their end, though not for ever."""
    for task in tasks:
        task.cancel()
    if not tasks:
        return
    _, left = await asyncio.wait(tasks, timeout=STOP_SECONDS)
    for task in left:
        log.error("%s does not end", task.get_name())


def raise_first(tasks: Iterable[asyncio.Task[Any]], *, unless: bool) -> None:
    """Raise the first error of the tasks that have ended, or say that they ended for nothing."""
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()):
            raise error
    if not unless:
        raise RuntimeError("kopf has ended without an error")
