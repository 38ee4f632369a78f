"""`tidegate dashboard`: a person's watches, the page's server, and an end in order."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.cluster.kubectl.connection import Connection
from tidegate.cluster.kubectl.following import Following
from tidegate.cluster.kubectl.kept import Kept
from tidegate.cluster.kubectl.kubeconfig import IN_CLUSTER, find_context
from tidegate.cluster.kubectl.rights import Rights
from tidegate.dashboard.board import Board
from tidegate.dashboard.publishing import Publisher
from tidegate.dashboard.serving import Dashboard, Shown
from tidegate.interrupts import INTERRUPTED

TOKEN_BYTES = 24


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for; no namespaces: all of them, one that is empty: the context's."""

    namespaces: tuple[str, ...]
    context: str
    kubeconfig: Path | None
    host: str
    port: int


async def serve(wish: Wish, begun: Callable[[str, str], None]) -> int:
    """Serve until a signal; the exit code. `begun` is told the place and the address once the page can be opened.

    Raises the error that keeps every namespace from being seen, or the port from being listened on.
    """
    context = find_context(wish.kubeconfig, wish.context)
    connection = Connection(context)
    named = [namespace or context.namespace for namespace in wish.namespaces]
    kept = Kept()
    publisher = Publisher(Board(secrets.token_hex(8)), kept.show)
    following = Following(connection, named or [None], kept, publisher)
    scope = f"namespace {', '.join(named)}" if named else "all namespaces"
    shown = Shown(
        place=f"{scope} of context {context.name} ({context.server})",
        publisher=publisher,
        token=secrets.token_urlsafe(TOKEN_BYTES),
        acts=Rights(connection, same_cluster(wish, context.name)),
    )
    ended = ends()
    publishing = asyncio.create_task(publisher.run())
    server = Dashboard(shown)
    starting: asyncio.Future[Any] = asyncio.ensure_future(following.start())
    try:
        await asyncio.wait([starting, ended], return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return ended.result()
        starting.result()
        port = await server.start(wish.host, wish.port, "--port")
        begun(shown.place, f"http://{in_url(wish.host)}:{port}/#key={shown.token}")
        return await ended
    finally:
        following.stop()
        starting.cancel()
        publishing.cancel()
        await server.stop()


def ends() -> asyncio.Future[int]:
    """The exit code, once a signal has come: as `tidegate run` has it."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    for number, code in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, 0)):
        loop.add_signal_handler(number, end, code)
    return ended


def same_cluster(wish: Wish, context: str) -> list[str]:
    """The options by which a command asks where we ask, whatever the kubeconfig's current context becomes."""
    named = [] if context == IN_CLUSTER else [f"--context={context}"]
    return named + ([f"--kubeconfig={wish.kubeconfig}"] if wish.kubeconfig else [])


def in_url(host: str) -> str:
    """How a browser on this machine reaches what listens there."""
    if host in ("0.0.0.0", "::"):  # noqa: S104
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
