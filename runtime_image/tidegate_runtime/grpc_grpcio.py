"""The gRPC port on grpc's own asyncio server, and how it stops without losing a request.

This module imports grpc, 0.1 s and 15 MB: it is only imported where `--grpc-server grpcio` asks for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, cast

import grpc

from tidegate.errors import Failed
from tidegate_runtime.errors import RequestError
from tidegate_runtime.grpc_calls import Call, Metadata, Method, carry_out, status_of, trailing_of
from tidegate_runtime.grpc_log import Noted
from tidegate_runtime.grpc_services import Services
from tidegate_runtime.health import Health
from tidegate_runtime.inference import Inferring
from tidegate_runtime.protection import Protection
from tidegate_runtime.request_log import LEFT
from tidegate_runtime.routes import Identity
from tidegate_runtime.settings import Settings
from tidegate_runtime.tls import TlsFiles

IDENTITY_ONLY: Final = 1  # grpc would unpack a bomb before it looks at the limit
MOST_STREAMS: Final = 128  # calls of one connection at a time; more wait at the client. grpc has no limit of its own
HOLD_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 0.02
LONGEST_MESSAGE: Final = 2**31 - 1  # of protobuf, too
STATUSES: Final = {status.value[0]: status for status in grpc.StatusCode}
Context = grpc.aio.ServicerContext[bytes, bytes]


class GrpcioServer:
    """Everything happens on the loop it was made on."""

    def __init__(self, settings: Settings, port: int, health: Health, protection: Protection) -> None:
        self._host, self._port = settings.host, port
        self._tls = protection.tls
        self._services = Services(health, protection)
        self._may_answer = asyncio.Event()
        self._may_answer.set()
        self._server = grpc.aio.server(options=_options(settings))
        self._server.add_generic_rpc_handlers((_Handlers(self._services.methods(), self._may_answer),))
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
        self._services.inference.serve(inferring, identity)

    async def end(self, in_time: Callable[[], bool]) -> bool:
        """Refuse connections, tell clients to send nothing more (GOAWAY), answer what was asked; see drain.py.

        grpc drops requests that reach it between its decision to stop and the clients' hearing of it (measured: 13 of
        16 busy clients lost one).  So answers are held back for a moment first: clients that wait for one send nothing,
        and hear of the end before they get it.
        """
        self._may_answer.clear()
        await asyncio.sleep(HOLD_SECONDS)
        stopping = asyncio.create_task(self._server.stop(self._longest_end))
        await asyncio.sleep(0)  # the task has begun: every connection has its GOAWAY before its next answer
        self._may_answer.set()
        self._services.health.end()
        while not stopping.done() and in_time():
            await asyncio.wait((stopping,), timeout=LOOK_SECONDS)
        return stopping.done()


class _Handlers(grpc.GenericRpcHandler):
    """Methods as grpc wants them: each as one that may take many messages and give many."""

    def __init__(self, methods: Mapping[str, Method], may_answer: asyncio.Event) -> None:
        self._handlers = {path: self._handler(method) for path, method in methods.items()}
        self._may_answer = may_answer

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._handlers.get(handler_call_details.method)

    def _handler(self, method: Method) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def stream(messages: AsyncIterator[bytes], context: Context) -> None:
            call = _Call(context)
            reading = asyncio.ensure_future(_read(call, method, messages))
            try:
                await self._write(call, context)
            finally:  # also when the client has cancelled, is gone, or its deadline has passed
                reading.cancel()
                call.leave()

        async def unary(message: bytes, context: Context) -> bytes:
            call = _Call(context)
            carry_out(call, _begin, method, message)
            try:
                answer = await call.messages.get()
                await self._may_answer.wait()
            finally:
                call.leave()
            if answer is None:
                await _refuse(call, context)
            context.set_trailing_metadata(call.trailing)
            return answer or b""

        if method.streams:
            return grpc.stream_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)

    async def _write(self, call: _Call, context: Context) -> None:
        while (message := await call.messages.get()) is not None:
            await context.write(message)
        await _refuse(call, context)


def _begin(call: Call, method: Method, message: bytes) -> None:
    if method.admit is not None:
        method.admit(call)
    if call.noted is not None:
        call.noted.received = len(message)
    method.handle(call, message)


async def _read(call: _Call, method: Method, messages: AsyncIterator[bytes]) -> None:
    async for message in messages:
        carry_out(call, method.handle, message)
    if method.many:
        call.finish()


async def _refuse(call: _Call, context: Context) -> None:
    error = call.error
    if error is not None:
        await context.abort(STATUSES[status_of(error)], error.message, trailing_of(error, call.trailing))


class _Call:
    """See `grpc_calls.Call`; None ends its messages."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.metadata: Mapping[str, str] = {
            name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)
        }
        self.trailing: Metadata = ()
        self.abandon: Callable[[], None] | None = None
        self.noted: Noted | None = None
        self.waited = 0.0
        self.error: RequestError | None = None
        self.messages: asyncio.Queue[bytes | None] = asyncio.Queue()

    @property
    def peer(self) -> str:
        names = list(self._context.auth_context().get("x509_common_name", ()))
        return b"".join(names[:1]).decode("utf-8", "replace")

    def seconds_left(self) -> float | None:
        return self._context.time_remaining()

    def send(self, message: bytes) -> None:
        self.messages.put_nowait(message)

    def finish(self) -> None:
        self.abandon = None
        self.messages.put_nowait(None)

    def answer(self, message: bytes) -> None:
        self.send(message)
        self.finish()
        self._note(200, len(message))

    def refuse(self, error: RequestError) -> None:
        self.error = error
        self.finish()
        self._note(error.status, 0)

    def _note(self, code: int, sent: int) -> None:
        if self.noted is not None:
            self.noted.end(code, sent)

    def leave(self) -> None:
        """The call is over; whoever has not answered it need not."""
        abandon, self.abandon = self.abandon, None
        if abandon is not None:
            abandon()
        self._note(LEFT, 0)


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
