"""`grpc.health.v1.Health`: the server's readiness as gRPC's own clients, proxies and probes ask for it.

The reference servicer keeps a state of its own and loses watchers (the second of two of a service is never told again
when the first leaves); here readiness is read where it is known.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from tidegate_runtime.errors import NotFound
from tidegate_runtime.grpc_calls import Call, Method, Methods, parsed, simple
from tidegate_runtime.health import Health

SERVICE: Final = "grpc.health.v1.Health"
LOOK_SECONDS: Final = 0.1


class HealthService:
    """Knows the server as a whole (an empty name) and the given services; all are ready together."""

    def __init__(self, health: Health, services: tuple[str, ...]) -> None:
        self._health = health
        self._names = frozenset(("", SERVICE, *services))
        self._watchers: dict[Call, tuple[str, int | None]] = {}  # what each watches, and what it was told
        self._looking: asyncio.TimerHandle | None = None
        self._over = False

    def methods(self) -> Methods:
        return {
            f"/{SERVICE}/Check": simple(HealthCheckRequest, self._check),
            f"/{SERVICE}/Watch": Method(self._watch, streams=True),
        }

    def end(self) -> None:
        """Let the watchers go: the server would wait for them."""
        self._over = True
        for call in list(self._watchers):
            call.finish()
        self._watchers.clear()

    def _check(self, request: HealthCheckRequest) -> HealthCheckResponse:
        if request.service not in self._names:
            raise NotFound("no such service")
        return HealthCheckResponse(status=self._status(request.service))

    def _watch(self, call: Call, raw: bytes | memoryview) -> None:
        service = parsed(HealthCheckRequest, raw).service
        if self._over:
            call.finish()
            return
        self._watchers[call] = (service, None)
        call.abandon = partial(self._forget, call)
        self._tell(call)
        if self._looking is None:
            self._look()

    def _forget(self, call: Call) -> None:
        self._watchers.pop(call, None)

    def _look(self) -> None:
        for call in list(self._watchers):
            self._tell(call)
        again = asyncio.get_running_loop().call_later
        self._looking = again(LOOK_SECONDS, self._look) if self._watchers else None

    def _tell(self, call: Call) -> None:
        service, told = self._watchers[call]
        status = self._status(service)
        if status != told:
            self._watchers[call] = (service, status)
            call.send(HealthCheckResponse(status=status).SerializeToString())

    def _status(self, service: str) -> HealthCheckResponse.ServingStatus:
        if service not in self._names:
            return HealthCheckResponse.SERVICE_UNKNOWN
        return HealthCheckResponse.SERVING if self._health.ready else HealthCheckResponse.NOT_SERVING
