"""Where explanations are asked for, in the Open Inference Protocol and in KServe's v1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from tidegate.attribution.explaining import explainable
from tidegate.bundle.manifest import TensorSpec
from tidegate.errors import Invalid
from tidegate_runtime import parameters
from tidegate_runtime.clients import EXPLAIN
from tidegate_runtime.errors import BadRequest, NotFound, RequestError
from tidegate_runtime.explain_wish import CALLED, wish
from tidegate_runtime.explaining import Encoded, Explaining, Question, Send
from tidegate_runtime.http import Connection
from tidegate_runtime.inflate import inflate
from tidegate_runtime.interfaces import Array, LoadedModel
from tidegate_runtime.oip_codec import InferCodec
from tidegate_runtime.predict_codec import PredictCodec
from tidegate_runtime.request import Request
from tidegate_runtime.routes import Route

OFF: Final = "nothing is explained here: start the server with --explain 1, or set spec.runtime.explain in the manifest"
Read = Callable[[Connection, Request], Question]


def explain_route(explaining: Explaining | None, read: Read, max_body: int) -> Route:
    """Where requests are answered that `read` understands; it raises RequestError for all others."""
    if explaining is None:
        return Route({b"POST": _off}, lambda _: NotFound(OFF), EXPLAIN)
    return Route({b"POST": partial(_explain, explaining, read, max_body)}, explaining.refusal, EXPLAIN)


def _off(connection: Connection, request: Request) -> None:  # noqa: ARG001 - a handler
    raise NotFound(OFF)


def _explain(explaining: Explaining, read: Read, max_body: int, connection: Connection, request: Request) -> None:
    try:
        if request.encoding is not None:
            request.body = inflate(request.body, request.encoding, max_body)
        question = read(connection, request)
        explaining.start(question)
    except RequestError as error:
        explaining.refused(error)
        connection.refuse(error)
        return
    connection.abandon = partial(explaining.left, question)


class ReadOpenInference:
    """Reads requests of the Open Inference Protocol: those of inference, with parameters of their own."""

    def __init__(self, model: LoadedModel, codec: InferCodec, json_length: Callable[[Request], int | None]) -> None:
        self._model, self._codec, self._json_length = model, codec, json_length

    def read(self, send: Send, connection: Connection, request: Request) -> Question:
        asked, feeds = self._codec.tensors(request.body, self._json_length(request))
        request.id = parameters.request_id(asked.get("id", ""))
        given = parameters.plain_values(asked.get("parameters"), "parameters")
        names, binary = self._codec.named(asked.get("outputs"), binary=given.get("binary_data_output", False) is True)
        nulls, own = parameters.null_for_nonfinite(given), request.id

        def encode(arrays: Mapping[str, Array]) -> Encoded:
            return self._codec.encode_arrays(own, arrays, binary=binary, null_for_nonfinite=nulls)

        outputs, seconds = _outputs(self._model, names), parameters.timeout(given.get("timeout", 0))
        return Question(feeds, wish(given), outputs, seconds, encode, send, connection, request)


class ReadPredict:
    """Reads requests of KServe's v1: those of `:predict`, with parameters."""

    def __init__(self, model: LoadedModel, codec: PredictCodec) -> None:
        self._model, self._codec = model, codec

    def read(self, connection: Connection, request: Request) -> Question:
        prediction = self._codec.decode(request.body, for_outputs=False)
        given = parameters.plain_values(prediction.parameters, "parameters")

        def encode(arrays: Mapping[str, Array]) -> Encoded:
            return self._codec.encode_arrays(arrays, null_for_nonfinite=prediction.null_for_nonfinite), None

        outputs, seconds = _outputs(self._model, ()), parameters.timeout(given.get("timeout", 0))
        return Question(prediction.feeds, wish(given), outputs, seconds, encode, _send, connection, request)


def _send(connection: Connection, body: bytes, json_length: int | None) -> None:  # noqa: ARG001 - all of it is JSON
    connection.answer(200, body)


def _outputs(model: LoadedModel, names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
    try:
        return explainable(model.outputs, names, CALLED)
    except Invalid as error:
        raise BadRequest(str(error)) from None
