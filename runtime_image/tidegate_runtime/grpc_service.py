"""The methods of `inference.GRPCInferenceService`: what a client asks, what it is told, and with which status.

Messages are parsed and written here, not by who carries them: what is malformed is refused with a sentence like all
else.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Final

from tidegate.protocol import SERVICE
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
from tidegate_runtime.batcher import Call as Run
from tidegate_runtime.clients import INFER, METADATA, OPEN
from tidegate_runtime.errors import NO_TIME_LEFT, NotFound, RequestError
from tidegate_runtime.grpc_calls import Call, Method, Methods, parsed, simple
from tidegate_runtime.grpc_codec import GrpcCodec, GrpcInference
from tidegate_runtime.grpc_log import Noted
from tidegate_runtime.grpc_source import GrpcSource
from tidegate_runtime.grpc_wire import take_apart
from tidegate_runtime.health import Health
from tidegate_runtime.inference import Inferring
from tidegate_runtime.oip import SERVER, metadata, not_ready
from tidegate_runtime.protection import Protection
from tidegate_runtime.routes import Identity

EXTENSIONS: Final = ("classification",)


class InferenceService:
    """Answers every method; before `serve` those of a model say that it is not ready."""

    def __init__(self, health: Health, protection: Protection) -> None:
        self._health = health
        self._doorkeeper, self._log = protection.doorkeeper, protection.log
        self._model: _Model | None = None

    def serve(self, inferring: Inferring, identity: Identity) -> None:
        """The model is ready."""
        self._model = _Model(inferring, identity)

    def methods(self) -> Methods:
        methods = {
            "ServerLive": (OPEN, simple(ServerLiveRequest, self._server_live)),
            "ServerReady": (OPEN, simple(ServerReadyRequest, self._server_ready)),
            "ServerMetadata": (METADATA, simple(ServerMetadataRequest, self._server_metadata)),
            "ModelReady": (OPEN, simple(ModelReadyRequest, self._model_ready)),
            "ModelMetadata": (METADATA, simple(ModelMetadataRequest, self._model_metadata)),
            "ModelInfer": (INFER, Method(self._model_infer, admit=self._require_room, waits=True)),
        }
        named = ((f"/{SERVICE}/{name}", scope, method) for name, (scope, method) in methods.items())
        return {path: self._guarded(path, scope, method) for path, scope, method in named}

    def _guarded(self, path: str, scope: str, method: Method) -> Method:
        """The method for clients that may call it, and with what the logs say of it; as it is where neither is on."""
        doorkeeper, log = self._doorkeeper, self._log
        if doorkeeper is None and log is None:
            return method

        def admit(call: Call) -> None:
            if log is not None:
                call.noted = Noted(log, path, scope, call.metadata)
                call.noted.client = call.peer
            if doorkeeper is not None and scope != OPEN:
                client = doorkeeper.client(call.metadata.get("authorization", ""))
                if call.noted is not None:
                    call.noted.client = client.name
                doorkeeper.require(client, scope)
            if method.admit is not None:
                method.admit(call)

        return replace(method, admit=admit)

    def _server_live(self, _: ServerLiveRequest) -> ServerLiveResponse:
        return ServerLiveResponse(live=self._health.live)

    def _server_ready(self, _: ServerReadyRequest) -> ServerReadyResponse:
        return ServerReadyResponse(ready=self._health.ready)

    def _server_metadata(self, _: ServerMetadataRequest) -> ServerMetadataResponse:
        return ServerMetadataResponse(name=SERVER, version=__version__, extensions=EXTENSIONS)

    def _model_ready(self, request: ModelReadyRequest) -> ModelReadyResponse:
        if self._model is not None:
            self._require_served(self._model.identity, request)
        return ModelReadyResponse(ready=self._health.ready)

    def _require_served(self, identity: Identity, request: ModelReadyRequest) -> None:
        """Raises NotFound: anybody may ask this, and where there are tokens a stranger does not learn what is here."""
        try:
            identity.require(request.name, request.version)
        except NotFound:
            if self._doorkeeper is None:
                raise
            raise NotFound("no such model or version here") from None

    def _model_metadata(self, request: ModelMetadataRequest) -> ModelMetadataResponse:
        model = self._require_model()
        model.identity.require(request.name, request.version)
        return ModelMetadataResponse(**metadata(model.inferring.model))

    def _require_room(self, call: Call) -> None:
        """Before anything is spent on a request, its message included."""
        model = self._require_model()
        call.trailing = model.revision
        if (full := model.inferring.refusal(GrpcSource(call.metadata))) is not None:
            raise full

    def _model_infer(self, call: Call, raw: bytes | memoryview) -> None:
        arrived, source = time.monotonic() - call.waited, GrpcSource(call.metadata)
        if call.noted is not None:
            call.noted.arrived = arrived
        model = self._require_model()
        inferring = model.inferring
        self._require_room(call)  # it may have been filled while the message came
        try:
            rest, raws = take_apart(raw)
            request = parsed(ModelInferRequest, rest)
            if call.noted is not None:
                call.noted.id = request.id
            model.identity.require(request.model_name, request.model_version)
            inference = model.codec.decode(request, raws)
            seconds, short = _seconds(call.seconds_left(), inference.timeout), inferring.is_short(len(raw))
            reply = _Reply(model.codec, inference, call)
            run = inferring.start(inference.feeds, reply, arrived=arrived, seconds=seconds, short=short, source=source)
        except NotFound:
            raise  # meant for another server: nothing to count here
        except RequestError as error:
            inferring.refused(error, arrived=arrived, source=source)
            raise
        call.abandon = partial(_left, inferring, run)

    def _require_model(self) -> _Model:
        if self._model is None:
            raise not_ready()
        return self._model


class _Model:
    """What inference needs, once there is a model."""

    __slots__ = ("codec", "identity", "inferring", "revision")

    def __init__(self, inferring: Inferring, identity: Identity) -> None:
        self.inferring, self.identity = inferring, identity
        self.codec = GrpcCodec(inferring.model, inferring.signature)
        self.revision = (("x-tidegate-revision", inferring.model.revision),)


class _Reply:
    """See `inference.Reply`."""

    __slots__ = ("_call", "_codec", "_inference")

    def __init__(self, codec: GrpcCodec, inference: GrpcInference, call: Call) -> None:
        self._codec, self._inference, self._call = codec, inference, call

    def answer(self, call: Run) -> None:
        if self._call.noted is not None:
            self._call.noted.started, self._call.noted.ended = call.started, call.ended
        self._call.answer(self._codec.encode(self._inference, call.outputs).SerializeToString())

    def refuse(self, error: RequestError) -> None:
        self._call.refuse(error)

    def as_it_came(self) -> None:
        """A candidate is asked over HTTP only."""


def _left(inferring: Inferring, run: Run) -> None:
    if not run.answered:
        inferring.left(run)


def _seconds(remaining: float | None, timeout: float) -> float:
    """The client's own limit, its deadline or what its parameters say; 0.0: none."""
    if remaining is None:
        return timeout
    if remaining <= 0.0:
        raise RequestError(NO_TIME_LEFT, 408)
    return min(remaining, timeout) if timeout else remaining
