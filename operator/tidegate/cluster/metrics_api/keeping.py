"""The metrics API of a process that leads: it listens, says where, and looks once a minute whether that still holds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.cluster.api import named, path
from tidegate.cluster.connection import Call, Connection
from tidegate.cluster.errors import NotFound
from tidegate.cluster.metrics_api import front_proxy
from tidegate.cluster.metrics_api.certificate import Authority
from tidegate.cluster.metrics_api.front_proxy import FrontProxy, read_front_proxy
from tidegate.cluster.metrics_api.registration import DEADLINE_SECONDS, Registration
from tidegate.cluster.metrics_api.server import MetricsServer
from tidegate.errors import TidegateError
from tidegate.plan.manifests.identity import CONFIG_MAP

AGAIN_SECONDS = 60.0
AFTER_TROUBLE_SECONDS = 10.0
RENEWED_SECONDS = 24 * 3600.0  # a certificate is good for a week

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where we listen, and the namespace of the Service that leads there."""

    address: str
    port: int
    namespace: str


class MetricsApi:
    """Serves from `run` on, until that is cancelled."""

    def __init__(
        self, connection: Connection, place: Place, server: MetricsServer, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connection = connection
        self._place = place
        self._server = server
        self._clock = clock
        self._registration = Registration(connection, place.namespace)
        self._authority = Authority(self._registration.host)
        self._proxy: FrontProxy | None = None
        self._renew_at = 0.0
        self._trouble: str | None = None  # what the log has been told; None: nothing yet

    @property
    def holds(self) -> bool:
        """Whether the API server comes to us, as far as we know."""
        return self._trouble == ""

    async def run(self) -> None:
        """Whatever stands in the way is told, and tried again."""
        try:
            while True:
                await self._look()
                await asyncio.sleep(AGAIN_SECONDS if self.holds else AFTER_TROUBLE_SECONDS)
        finally:
            await self._server.stop()

    async def _look(self) -> None:
        try:
            await self._believe()
            port = await self._server.start(self._place.address, self._place.port)
            await self._registration.hold(self._place.address, port, self._authority.pem)
        except TidegateError as error:
            self._tell(str(error))
        except Exception:
            log.exception("a bug: external metrics are looked at again")
            self._trouble = "a bug"
        else:
            self._tell("")

    async def _believe(self) -> None:
        """Whoever is the front proxy now; and a new certificate once a day."""
        proxy, now = read_front_proxy(await self._config_map()), self._clock()
        if proxy != self._proxy or now >= self._renew_at:
            self._server.believe(proxy, self._authority.context(proxy.authority))
            self._proxy, self._renew_at = proxy, now + RENEWED_SECONDS

    async def _config_map(self) -> dict[str, object] | None:
        place = (CONFIG_MAP, front_proxy.NAMESPACE, front_proxy.NAME)
        try:
            return await self._connection.send(Call("get", "GET", path(*place), named(*place)), DEADLINE_SECONDS)
        except NotFound:
            return None

    def _tell(self, trouble: str) -> None:
        """Once, not every ten seconds for as long as it lasts."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble:
            log.warning("external metrics are not served by us: %s", trouble)
        else:
            log.info("serving external metrics at %s", self._place.address)
