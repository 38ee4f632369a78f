"""`grpc.health.v1.Health`: the server's readiness as gRPC's own clients, proxies and probes ask for it.

The reference servicer keeps a state of its own and loses watchers (the second of two of a service is never told again
when the first leaves); here readiness is read where it is known.
"""

from __future__ import annotations

import asyncio
from typing import Final

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from tidegate_runtime.health import Health

SERVICE: Final = "grpc.health.v1.Health"
LOOK_SECONDS: Final = 0.1
Context = grpc.aio.ServicerContext[HealthCheckRequest, HealthCheckResponse]


class HealthService:
    """Knows the server as a whole (an empty name) and the given services; all are ready together."""

    def __init__(self, health: Health, services: tuple[str, ...]) -> None:
        self._health = health
        self._names = frozenset(("", SERVICE, *services))
        self._over = asyncio.Event()

    def handlers(self) -> grpc.GenericRpcHandler:
        coders = {
            "request_deserializer": HealthCheckRequest.FromString,
            "response_serializer": HealthCheckResponse.SerializeToString,
        }
        methods = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check, **coders),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch, **coders),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def end(self) -> None:
        """Let the watchers go: the server would wait for them."""
        self._over.set()

    async def _check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return HealthCheckResponse(status=self._status(request.service))

    async def _watch(self, request: HealthCheckRequest, context: Context) -> None:
        told: HealthCheckResponse.ServingStatus | None = None
        while not self._over.is_set():
            status = self._status(request.service)
            if status != told:
                await context.write(HealthCheckResponse(status=status))
                told = status
            try:
                await asyncio.wait_for(self._over.wait(), LOOK_SECONDS)
            except TimeoutError:
                continue

    def _status(self, service: str) -> HealthCheckResponse.ServingStatus:
        if service not in self._names:
            return HealthCheckResponse.SERVICE_UNKNOWN
        return HealthCheckResponse.SERVING if self._health.ready else HealthCheckResponse.NOT_SERVING
