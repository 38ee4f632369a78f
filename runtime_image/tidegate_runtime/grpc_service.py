"""The methods of `inference.GRPCInferenceService`: what a client asks, what it is told, and with which status.

Messages are parsed and written here, not by who carries them: what is malformed is refused with a sentence like all
else.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Final

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
from tidegate_runtime.errors import NotFound, RequestError
from tidegate_runtime.grpc_calls import Call, Method, Methods, parsed, simple
from tidegate_runtime.grpc_codec import GrpcCodec, GrpcInference
from tidegate_runtime.grpc_wire import take_apart
from tidegate_runtime.health import Health
from tidegate_runtime.inference import Inferring
from tidegate_runtime.interfaces import Kind
from tidegate_runtime.oip import SERVER, metadata, not_ready
from tidegate_runtime.parameters import PINNED, kind_of
from tidegate_runtime.routes import Identity

SERVICE: Final = "inference.GRPCInferenceService"
EXTENSIONS: Final = ("classification",)


class InferenceService:
    """Answers every method; before `serve` those of a model say that it is not ready."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._model: _Model | None = None

    def serve(self, inferring: Inferring, identity: Identity) -> None:
        """The model is ready."""
        self._model = _Model(inferring, identity)

    def methods(self) -> Methods:
        methods = {
            "ServerLive": simple(ServerLiveRequest, self._server_live),
            "ServerReady": simple(ServerReadyRequest, self._server_ready),
            "ServerMetadata": simple(ServerMetadataRequest, self._server_metadata),
            "ModelReady": simple(ModelReadyRequest, self._model_ready),
            "ModelMetadata": simple(ModelMetadataRequest, self._model_metadata),
            "ModelInfer": Method(self._model_infer, refusal=self._require_room),
        }
        return {f"/{SERVICE}/{name}": method for name, method in methods.items()}

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
        model = self._require_model()
        model.identity.require(request.name, request.version)
        return ModelMetadataResponse(**metadata(model.inferring.model))

    def _require_room(self, call: Call) -> None:
        """Before anything is spent on a request, its message included."""
        model = self._require_model()
        call.trailing = model.revision
        if (full := model.inferring.refusal(_kind_of(call), time.monotonic())) is not None:
            raise full

    def _model_infer(self, call: Call, raw: bytes | memoryview) -> None:
        arrived, kind = time.monotonic(), _kind_of(call)
        model = self._require_model()
        inferring = model.inferring
        self._require_room(call)
        try:
            rest, raws = take_apart(raw)
            request = parsed(ModelInferRequest, rest)
            model.identity.require(request.model_name, request.model_version)
            inference = model.codec.decode(request, raws)
            seconds, short = _seconds(call.seconds_left(), inference.timeout), inferring.is_short(len(raw))
            reply = _Reply(model.codec, inference, call)
            run = inferring.start(inference.feeds, reply, arrived=arrived, seconds=seconds, short=short, kind=kind)
        except NotFound:
            raise  # meant for another server: nothing to count here
        except RequestError as error:
            inferring.refused(error, arrived=arrived, kind=kind)
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
        self._call.answer(self._codec.encode(self._inference, call.outputs).SerializeToString())

    def refuse(self, error: RequestError) -> None:
        self._call.refuse(error)

    def as_it_came(self) -> None:
        """A candidate is asked over HTTP only."""


def _left(inferring: Inferring, run: Run) -> None:
    if not run.answered:
        inferring.left(run)


def _kind_of(call: Call) -> Kind:
    """Whether the request's version was chosen by the split or pinned by the client."""
    return kind_of(pinned=PINNED in call.metadata)


def _seconds(remaining: float | None, timeout: float) -> float:
    """The client's own limit, its deadline or what its parameters say; 0.0: none."""
    if remaining is None:
        return timeout
    if remaining <= 0.0:
        raise RequestError("no time was left to run it", 408)
    return min(remaining, timeout) if timeout else remaining
