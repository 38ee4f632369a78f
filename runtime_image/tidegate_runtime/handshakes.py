"""TLS on a port: connections are taken on, shake hands within their time, and then are connections like any other.

Those that still shake hands are counted, because whoever opens connections and says nothing must not get around the
limit.  asyncio's own server with a context would neither count them nor take up a new certificate.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from tidegate_runtime.request import Limits
from tidegate_runtime.tls import TlsFiles

LOG = logging.getLogger(__name__)


class Handshakes:
    """Everything happens on the loop. `room` says whether one more connection may be there; `changed` that one is."""

    def __init__(
        self,
        make: Callable[[], asyncio.BaseProtocol],
        tls: TlsFiles,
        protocol: str,
        limits: Limits,
        *,
        room: Callable[[], bool],
        changed: Callable[[], None],
    ) -> None:
        self._make, self._tls, self._protocol, self._limits = make, tls, protocol, limits
        self._room, self._changed = room, changed
        self._loop = asyncio.get_running_loop()
        self._under_way: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Connections that are not yet their protocol's."""
        return len(self._under_way)

    def abort(self) -> None:
        """Cut off what still shakes hands."""
        for task in self._under_way:
            task.cancel()

    def begin(self, client: socket.socket) -> None:
        """Shake hands with a client that has been accepted."""
        if not self._room():
            client.close()
            return
        task = self._loop.create_task(self._shake(client))
        self._under_way.add(task)
        task.add_done_callback(self._end)
        self._changed()

    def _end(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._changed()

    async def _shake(self, client: socket.socket) -> None:
        client.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(
                self._make, client, ssl=self._tls.context(self._protocol),
                ssl_handshake_timeout=self._limits.header_timeout, ssl_shutdown_timeout=self._limits.body_timeout,
            )  # fmt: skip
        except OSError:  # no TLS, no certificate, no time, or gone
            self._tls.failed += 1
        except Exception:
            self._tls.failed += 1
            LOG.exception("a TLS handshake failed")
