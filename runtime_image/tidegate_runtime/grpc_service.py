"""The methods of `inference.GRPCInferenceService`: what a client asks, what it is told, and with which status.

Messages are parsed and written here, not by grpc: what is malformed is then refused with a sentence like all else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message

from tidegate.protocol.open_inference_pb2 import (
    ModelInferRequest,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    ServerLiveRequest,
    ServerLiveResponse,
    ServerMetadataRequest,
    ServerMetadataResponse,
    ServerReadyRequest,
    ServerReadyResponse,
)
from tidegate_runtime import __version__
from tidegate_runtime.batcher import Call
from tidegate_runtime.clients import INFER, METADATA, OPEN
from tidegate_runtime.errors import BadRequest, DeviceFull, NotFound, RequestError, Throttled
from tidegate_runtime.grpc_codec import GrpcCodec, GrpcInference
from tidegate_runtime.grpc_source import GrpcSource
from tidegate_runtime.grpc_wire import MOST_FIELDS, has_too_many_fields
from tidegate_runtime.health import Health
from tidegate_runtime.inference import OK, Inferring
from tidegate_runtime.oip import SERVER, metadata, not_ready
from tidegate_runtime.protection import Protection
from tidegate_runtime.request_log import LEFT, Answered
from tidegate_runtime.routes import Identity

LOG = logging.getLogger(__name__)
Context = grpc.aio.ServicerContext[bytes, bytes]
SERVICE: Final = "inference.GRPCInferenceService"
EXTENSIONS: Final = ("classification",)
PUSHBACK: Final = "grpc-retry-pushback-ms"  # clients with a retry policy wait so long
CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class Asked:
    """One request: who asks, and what the logs will say of it."""

    __slots__ = ("arrived", "client", "context", "ended", "id", "started")

    def __init__(self, context: Context) -> None:
        self.context = context
        self.arrived = time.monotonic()
        self.started = self.ended = 0.0  # of its run
        self.client = self.id = ""

    @property
    def metadata(self) -> dict[str, Any]:
        return dict(self.context.invocation_metadata() or ())


Method = Callable[[bytes, Asked], Awaitable[bytes]]


class InferenceService:
    """Answers every method; before `serve` those of a model say that it is not ready."""

    def __init__(self, health: Health, protection: Protection) -> None:
        self._health = health
        self._doorkeeper, self._log = protection.doorkeeper, protection.log
        self._model: _Model | None = None
        self._may_answer = asyncio.Event()
        self._may_answer.set()

    def serve(self, inferring: Inferring, identity: Identity) -> None:
        """The model is ready."""
        self._model = _Model(inferring, identity)

    def hold_answers(self) -> None:
        """From now on requests are taken and run, and their answers kept."""
        self._may_answer.clear()

    def release_answers(self) -> None:
        self._may_answer.set()

    def handlers(self) -> grpc.GenericRpcHandler:
        """All methods as grpc wants them."""
        methods = {
            "ServerLive": (OPEN, _simple(ServerLiveRequest, self._server_live)),
            "ServerReady": (OPEN, _simple(ServerReadyRequest, self._server_ready)),
            "ServerMetadata": (METADATA, _simple(ServerMetadataRequest, self._server_metadata)),
            "ModelReady": (OPEN, _simple(ModelReadyRequest, self._model_ready)),
            "ModelMetadata": (METADATA, _simple(ModelMetadataRequest, self._model_metadata)),
            "ModelInfer": (INFER, self._model_infer),
        }
        handlers = {name: self._unary(name, scope, method) for name, (scope, method) in methods.items()}
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _unary(self, name: str, scope: str, method: Method) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def admitted(raw: bytes, asked: Asked) -> bytes:
            if self._doorkeeper is not None and scope != OPEN:
                client = self._doorkeeper.client(str(asked.metadata.get("authorization", "")))
                asked.client = client.name
                self._doorkeeper.require(client, scope)
            return await method(raw, asked)

        async def handle(raw: bytes, context: Context) -> bytes:
            asked, answer, code = Asked(context), b"", LEFT
            try:
                answer, refusal = await _outcome(admitted, raw, asked)
                await self._may_answer.wait()
                code = OK if refusal is None else refusal.status
            finally:
                if self._log is not None:
                    self._log.note(_answered(asked, name, scope, code, len(raw), len(answer)))
            if refusal is not None:
                await _refuse(context, refusal)
            return answer

        return grpc.unary_unary_rpc_method_handler(handle)

    def _server_live(self, _: ServerLiveRequest) -> ServerLiveResponse:
        return ServerLiveResponse(live=self._health.live)

    def _server_ready(self, _: ServerReadyRequest) -> ServerReadyResponse:
        return ServerReadyResponse(ready=self._health.ready)

    def _server_metadata(self, _: ServerMetadataRequest) -> ServerMetadataResponse:
        return ServerMetadataResponse(name=SERVER, version=__version__, extensions=EXTENSIONS)

    def _model_ready(self, request: ModelReadyRequest) -> ModelReadyResponse:
        if self._model is not None:
            self._model.identity.require(request.name, request.version)
        return ModelReadyResponse(ready=self._health.ready)

    def _model_metadata(self, request: ModelMetadataRequest) -> ModelMetadataResponse:
        if self._model is None:
            raise not_ready()
        self._model.identity.require(request.name, request.version)
        return ModelMetadataResponse(**metadata(self._model.inferring.model))

    async def _model_infer(self, raw: bytes, asked: Asked) -> bytes:
        arrived, context, source = asked.arrived, asked.context, GrpcSource(asked.metadata)
        if self._model is None:
            raise not_ready()
        model, inferring = self._model, self._model.inferring
        context.set_trailing_metadata(model.revision)
        if (full := inferring.refusal(source, arrived)) is not None:
            raise full  # before anything is spent on it
        try:
            if has_too_many_fields(raw):
                raise BadRequest(f"the message has more than {MOST_FIELDS} fields")
            request = _parsed(ModelInferRequest, raw)
            asked.id = request.id
            model.identity.require(request.model_name, request.model_version)
            inference = model.codec.decode(request)
            reply = _Reply(model.codec, inference)
            seconds = _seconds(context.time_remaining(), inference.timeout)
            short = inferring.is_short(len(raw))
            call = inferring.start(inference.feeds, reply, arrived=arrived, seconds=seconds, short=short, source=source)
        except NotFound:
            raise  # meant for another server: nothing to count here
        except RequestError as error:
            inferring.refused(error, arrived=arrived, source=source)
            raise
        try:
            return await reply.written
        except asyncio.CancelledError:  # the client has cancelled, is gone, or its deadline has passed
            if not call.answered:
                inferring.left(call)
            raise
        finally:
            asked.started, asked.ended = call.started, call.ended


class _Model:
    """What inference needs, once there is a model."""

    __slots__ = ("codec", "identity", "inferring", "revision")

    def __init__(self, inferring: Inferring, identity: Identity) -> None:
        self.inferring, self.identity = inferring, identity
        self.codec = GrpcCodec(inferring.model, inferring.signature)
        self.revision = (("x-tidegate-revision", inferring.model.revision),)


class _Reply:
    """See `inference.Reply`. `written` may be cancelled a moment before the method that waits for it hears of that."""

    __slots__ = ("_codec", "_inference", "written")

    def __init__(self, codec: GrpcCodec, inference: GrpcInference) -> None:
        self._codec, self._inference = codec, inference
        self.written: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def answer(self, call: Call) -> None:
        answer = self._codec.encode(self._inference, call.outputs).SerializeToString()
        if not self.written.done():
            self.written.set_result(answer)

    def refuse(self, error: RequestError) -> None:
        if not self.written.done():
            self.written.set_exception(error)

    def as_it_came(self) -> None:
        """A candidate is asked over HTTP only."""


def _simple(kind: type[Message], answer: Callable[[Any], Message]) -> Method:
    """A method whose answer is known at once."""

    async def method(raw: bytes, _: Asked) -> bytes:
        said: bytes = answer(_parsed(kind, raw)).SerializeToString()
        return said

    return method


def _answered(asked: Asked, name: str, scope: str, code: int, received: int, sent: int) -> Answered:
    """A request as the logs have it."""
    metadata, certified = asked.metadata, list(asked.context.auth_context().get("x509_common_name", ()))
    return Answered(
        protocol="grpc",
        path=f"/{SERVICE}/{name}",
        scope=scope,
        client=asked.client or b"".join(certified[:1]).decode("utf-8", "replace"),
        code=code,
        bytes_in=received,
        bytes_out=sent,
        arrived=asked.arrived,
        answered=time.monotonic(),
        started=asked.started,
        ended=asked.ended,
        request_id=asked.id or str(metadata.get("x-request-id", "")),
        traceparent=str(metadata.get("traceparent", "")),
    )


async def _outcome(method: Method, raw: bytes, asked: Asked) -> tuple[bytes, RequestError | None]:
    """The bytes of an answer, or why there is none."""
    try:
        return await method(raw, asked), None
    except RequestError as error:
        return b"", error
    except Exception:  # a fault of ours: the client gets an answer, the log the reason
        LOG.exception("%s failed", method)
        return b"", RequestError("internal error")


def _parsed(kind: type[Any], raw: bytes) -> Any:
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise BadRequest(f"the message is not a {kind.DESCRIPTOR.name}") from None


def _seconds(remaining: float | None, timeout: float) -> float:
    """The client's own limit, its deadline or what its parameters say; 0.0: none."""
    if remaining is None:
        return timeout
    if not remaining:
        raise RequestError("no time was left to run it", 408)
    return min(remaining, timeout) if timeout else remaining


async def _refuse(context: Context, error: RequestError) -> None:
    trailing = tuple(context.trailing_metadata() or ())
    if isinstance(error, Throttled):
        trailing += ((PUSHBACK, str(1000 * error.retry_after)),)
    code = grpc.StatusCode.RESOURCE_EXHAUSTED if isinstance(error, DeviceFull) else CODES.get(error.status)
    await context.abort(code or grpc.StatusCode.INTERNAL, error.message, trailing)
