"""The gRPC port, on grpc's own asyncio server in the loop of the rest, and how it stops without losing a request.

This module imports grpc, 0.1 s and 20 MB: it is only imported where there is a gRPC port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, cast

import grpc
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from tidegate.errors import Failed
from tidegate_runtime import grpc_health, grpc_service
from tidegate_runtime.grpc_health import HealthService
from tidegate_runtime.grpc_service import InferenceService
from tidegate_runtime.health import Health
from tidegate_runtime.inference import Inferring
from tidegate_runtime.protection import Protection
from tidegate_runtime.routes import Identity
from tidegate_runtime.settings import Settings
from tidegate_runtime.tls import TlsFiles

IDENTITY_ONLY: Final = 1  # grpc would unpack a bomb before it looks at the limit
MOST_STREAMS: Final = 128  # calls of one connection at a time; more wait at the client. grpc has no limit of its own
HOLD_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 0.02
LONGEST_MESSAGE: Final = 2**31 - 1  # of protobuf, too


class GrpcServer:
    """Everything happens on the loop it was made on."""

    def __init__(self, settings: Settings, port: int, health: Health, protection: Protection) -> None:
        self._host, self._port = settings.host, port
        self._tls = protection.tls
        self._inference = InferenceService(health, protection)
        self._health = HealthService(health, (grpc_service.SERVICE,))
        self._server = grpc.aio.server(options=_options(settings))
        handlers = (self._inference.handlers(), self._health.handlers(), *_reflection())
        self._server.add_generic_rpc_handlers(handlers)
        self._longest_end = settings.drain

    async def start(self) -> int:
        """Listen, and give the port; raises Failed when the port cannot be had."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        address = f"{host}:{self._port}"
        try:
            if self._tls is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, _credentials(self._tls))
        except RuntimeError:
            raise Failed("cannot listen: is the port in use?", where=f"{host}:{self._port}", reason="PortTaken",
                         do="choose another port, 0 for a free one, or off") from None  # fmt: skip
        await self._server.start()
        return port

    def serve(self, inferring: Inferring, identity: Identity) -> None:
        """The model is ready."""
        self._inference.serve(inferring, identity)

    async def end(self, in_time: Callable[[], bool]) -> bool:
        """Refuse connections, tell clients to send nothing more (GOAWAY), answer what was asked; see drain.py.

        grpc drops requests that reach it between its decision to stop and the clients' hearing of it (measured: 13 of
        16 busy clients lost one).  So answers are held back for a moment first: clients that wait for one send nothing,
        and hear of the end before they get it.
        """
        self._inference.hold_answers()
        await asyncio.sleep(HOLD_SECONDS)
        stopping = asyncio.create_task(self._server.stop(self._longest_end))
        await asyncio.sleep(0)  # the task has begun: every connection has its GOAWAY before its next answer
        self._inference.release_answers()
        self._health.end()
        while not stopping.done() and in_time():
            await asyncio.wait((stopping,), timeout=LOOK_SECONDS)
        return stopping.done()


def _credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """Of what the files say when a client shakes hands."""
    used = tls.contents

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        if tls.contents is used:
            return None
        used = tls.contents
        return _certificate(tls)

    return grpc.dynamic_ssl_server_credentials(
        _certificate(tls),
        cast("Callable[[], grpc.ServerCertificateConfiguration]", changed),  # None, too: its types forget that
        tls.asks_clients,
    )


def _certificate(tls: TlsFiles) -> grpc.ServerCertificateConfiguration:
    contents = tls.contents
    assert contents is not None
    pair = (contents.key, contents.certificate)
    return grpc.ssl_server_certificate_configuration([pair], contents.client_ca or None)


def _reflection() -> Iterator[grpc.GenericRpcHandler]:
    """What lets clients ask for the protocol itself; its two versions differ in nothing but their name."""
    names = {version: f"grpc.reflection.{version}.ServerReflection" for version in ("v1alpha", "v1")}
    servicer = reflection.aio.ReflectionServicer((grpc_service.SERVICE, grpc_health.SERVICE, *names.values()))
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        ServerReflectionRequest.FromString,
        ServerReflectionResponse.SerializeToString,
    )
    for name in names.values():
        yield grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method})


def _options(settings: Settings) -> tuple[tuple[str, int], ...]:
    return (
        ("grpc.so_reuseport", 0),  # else two servers share a port without a word
        ("grpc.max_receive_message_length", min(settings.max_body, LONGEST_MESSAGE)),
        ("grpc.compression_enabled_algorithms_bitset", IDENTITY_ONLY),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_concurrent_streams", MOST_STREAMS),
        ("grpc.max_connection_idle_ms", round(settings.idle_timeout * 1000)),
        ("grpc.server_handshake_timeout_ms", round(settings.header_timeout * 1000)),
    )
