"""The Open Inference Protocol over gRPC, with tensors as raw bytes; answers are read in typed contents, too.

gRPC sends a call again by itself only while the server has not seen it, so it cannot be run twice.  This module imports
grpc: it is only imported for an address that asks for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
from google.protobuf.message import Message

from tidegate.bundle.element_types import ELEMENT_TYPES
from tidegate.client.certificate import Certificate
from tidegate.client.errors import (
    ClientError,
    NotConnected,
    NotTrusted,
    RequestRefused,
    ServerBusy,
    ServerFailed,
    TimedOut,
    Unanswered,
)
from tidegate.client.messages import (
    LONGEST_SENTENCE,
    MOST_ANSWER,
    NONSENSE,
    REVISION,
    Asked,
    ModelMetadata,
    Prediction,
    TensorMetadata,
    not_of_the_protocol,
)
from tidegate.client.tensors import TEXT, Array, from_bytes, from_values
from tidegate.errors import Invalid
from tidegate.protocol import CONTENTS, SERVICE
from tidegate.protocol.open_inference_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    ServerReadyRequest,
    ServerReadyResponse,
)

Code = grpc.StatusCode
# What HTTP would have answered; all others are failures of the server.
STATUSES = {
    Code.INVALID_ARGUMENT: 400, Code.OUT_OF_RANGE: 400, Code.FAILED_PRECONDITION: 400, Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403, Code.NOT_FOUND: 404, Code.RESOURCE_EXHAUSTED: 429, Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503, Code.DEADLINE_EXCEEDED: 504,
}  # fmt: skip
REFUSED = frozenset({400, 401, 403, 404, 501})
PUSHBACK = "grpc-retry-pushback-ms"
# In grpc's own words. Should they change, a request is not made again that could have been; never the reverse.
NO_CONNECTION = ("failed to connect", "DNS resolution failed", "Failed to pick subchannel", "Name resolution failure")
HTTP_PORT = ("the answer is not HTTP/2", "is this the HTTP port?")
OTHER_PROTOCOL = {  # in the same words, and OpenSSL's
    "WRONG_VERSION_NUMBER": ("the answer is not TLS", "the server there speaks grpc://"),
    "http1.x server": HTTP_PORT,
    "Failed parsing HTTP/2": HTTP_PORT,
    "missing selected ALPN": HTTP_PORT,
}
NOT_VERIFIED = {
    "CERTIFICATE_VERIFY_FAILED": "nobody trusted vouches for its certificate",
    "Hostname Verification Check failed": "its certificate is for another host",
}
AUTHORITIES = "SSL_CERT_FILE"
METADATA_NAME = re.compile(r"[0-9a-z_.-]+(?<!-bin)")
METADATA_VALUE = re.compile(r"[ -~]*")
TOO_LARGE = "larger than max"
OPTIONS = (
    ("grpc.max_receive_message_length", MOST_ANSWER),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.enable_http_proxy", 0),
)
Answer = TypeVar("Answer", bound=Message)


class GrpcTransport:
    """See `messages.Transport`. `address` is HOST:PORT."""

    def __init__(
        self, address: str, *, secure: bool, headers: Mapping[str, str], certificate: Certificate | None = None
    ) -> None:
        self._where = f"{'grpcs' if secure else 'grpc'}://{address}"
        self._metadata = tuple(_metadata(name.lower(), value) for name, value in headers.items())
        if secure:
            shown = certificate.contents() if certificate else (None, None)
            self._channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(_authorities(), *shown), OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address, OPTIONS)
        self._infer = self._method("ModelInfer", ModelInferResponse)
        self._about = self._method("ModelMetadata", ModelMetadataResponse)
        self._ready = self._method("ServerReady", ServerReadyResponse)
        self._model_ready = self._method("ModelReady", ModelReadyResponse)

    def infer(self, asked: Asked, seconds: float) -> Prediction:
        response, revision = self._infer(_request(asked), seconds)
        return _prediction(response, revision)

    def metadata(self, model: str, version: str, seconds: float) -> ModelMetadata:
        said, _ = self._about(ModelMetadataRequest(name=model, version=version), seconds)
        return ModelMetadata(said.name, tuple(said.versions), _specs(said.inputs), _specs(said.outputs))

    def ready(self, model: str, version: str, seconds: float) -> bool:
        if model:
            return self._model_ready(ModelReadyRequest(name=model, version=version), seconds)[0].ready
        return self._ready(ServerReadyRequest(), seconds)[0].ready

    def close(self) -> None:
        self._channel.close()

    def _method(self, name: str, kind: type[Answer]) -> Callable[[Message, float], tuple[Answer, str]]:
        """A function from a request and seconds to its answer and the revision that gave it."""
        path = f"/{SERVICE}/{name}"
        call: grpc.UnaryUnaryMultiCallable[Message, Answer] = self._channel.unary_unary(
            path, lambda message: message.SerializeToString(), kind.FromString
        )

        def ask(request: Message, seconds: float) -> tuple[Answer, str]:
            try:
                answer, ended = call.with_call(request, timeout=seconds, metadata=self._metadata)
            except grpc.RpcError as error:
                raise _failure(error, f"{self._where}{path}") from None
            return answer, _texts(ended.trailing_metadata()).get(REVISION, "")

        return ask


def _metadata(name: str, value: str) -> tuple[str, str]:
    """A header as gRPC carries it; raises Invalid, which shows no value: it may be a secret."""
    if not METADATA_NAME.fullmatch(name):
        raise Invalid("gRPC carries no text under this name", where=f"header {name!r}",
                      do="use letters, digits, _, . and -, and not -bin at the end")  # fmt: skip
    if not METADATA_VALUE.fullmatch(value):
        raise Invalid("gRPC carries one line of ASCII text only", where=f"header {name!r}")
    return name, value


def _authorities() -> bytes | None:
    """Whom to trust: those in the file that `https://` addresses obey as well; None: grpc's own list."""
    named = os.environ.get(AUTHORITIES)
    try:
        return Path(named).read_bytes() if named else None
    except OSError as error:
        raise Invalid(f"cannot be read: {error.strerror}", where=f"{AUTHORITIES}={named}") from None


def _request(asked: Asked) -> ModelInferRequest:
    request = ModelInferRequest(model_name=asked.model, model_version=asked.version)
    for tensor in asked.inputs:
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        request.raw_input_contents.append(tensor.raw)
    for name in asked.outputs:
        request.outputs.add(name=name)
    return request


def _prediction(response: ModelInferResponse, revision: str) -> Prediction:
    raws = response.raw_output_contents
    try:
        outputs = {
            tensor.name: _tensor(tensor, raws[index] if raws else None) for index, tensor in enumerate(response.outputs)
        }
    except (*NONSENSE, IndexError) as error:
        not_of_the_protocol(error)
    datatypes = {tensor.name: tensor.datatype for tensor in response.outputs}
    return Prediction(outputs, datatypes, response.model_name, response.model_version, revision)


def _tensor(tensor: ModelInferResponse.InferOutputTensor, raw: bytes | None) -> Array:
    datatype, shape = tensor.datatype, tuple(tensor.shape)
    if datatype not in ELEMENT_TYPES:
        raise ValueError(f"the type {datatype[:40]!r} is not known here")
    if raw is not None:
        return from_bytes(memoryview(raw), datatype, shape)
    values: Iterable[Any] = getattr(tensor.contents, CONTENTS[datatype])
    if datatype == TEXT:
        return from_values([text.decode() for text in values], datatype).reshape(shape)
    return np.array(values, ELEMENT_TYPES[datatype].numpy).reshape(shape)


def _specs(tensors: Iterable[ModelMetadataResponse.TensorMetadata]) -> dict[str, TensorMetadata]:
    return {one.name: TensorMetadata(one.name, one.datatype, tuple(one.shape)) for one in tensors}


def _failure(error: grpc.RpcError, where: str) -> ClientError:
    """What it means that a call ended with this status."""
    code, trailing = error.code(), _texts(error.trailing_metadata())
    what = (error.details() or code.name)[:LONGEST_SENTENCE]
    status = STATUSES.get(code, 500)
    if code is Code.UNAVAILABLE and not trailing.keys() & {REVISION, PUSHBACK}:
        return _unavailable(what, where)
    if code in (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED) and TOO_LARGE not in what:
        later = trailing.get(PUSHBACK, "")
        return ServerBusy(what, where=where, status=status, retry_after=int(later) / 1e3 if later.isdigit() else 1.0)
    if code is Code.DEADLINE_EXCEEDED:
        return TimedOut(what, where=where, status=status)
    if code is Code.CANCELLED:
        return Unanswered(what, where=where)
    if status in REFUSED or what.startswith("SERVER:"):  # a message too large for it
        return RequestRefused(what, where=where, status=status)
    return ServerFailed(what, where=where, status=status)


def _unavailable(what: str, where: str) -> ClientError:
    """It may be grpc itself that says so: there was no connection, or it broke."""
    for words, sentence in NOT_VERIFIED.items():
        if words in what:
            return NotTrusted(sentence, where=where, do=f"{AUTHORITIES} may name an authority of yours")
    for words, (sentence, do) in OTHER_PROTOCOL.items():
        if words in what:
            return ServerFailed(sentence, where=where, do=do)
    if what.startswith(NO_CONNECTION):
        return NotConnected(f"no connection: {what}", where=where, do="is the server running there?")
    return Unanswered(what, where=where)


def _texts(metadata: Any) -> dict[str, str]:
    return {str(name): value for name, value in metadata or () if isinstance(value, str)}
