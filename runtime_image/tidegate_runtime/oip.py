"""The Open Inference Protocol v2 over HTTP: its paths, and what each answers."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import orjson

from tidegate_runtime.answers import JSON
from tidegate_runtime.batcher import Call
from tidegate_runtime.clients import OPEN
from tidegate_runtime.errors import BadRequest, RequestError, Unavailable
from tidegate_runtime.explain_routes import ReadOpenInference, explain_route
from tidegate_runtime.explaining import Explaining
from tidegate_runtime.health import Health
from tidegate_runtime.http import Connection
from tidegate_runtime.inference import Inferring
from tidegate_runtime.interfaces import Body, LoadedModel
from tidegate_runtime.oip_codec import InferCodec, Inference
from tidegate_runtime.over_http import Asked, inference_route
from tidegate_runtime.request import Request
from tidegate_runtime.routes import Route, Routes
from tidegate_runtime.settings import Settings

BINARY: Final = b"application/octet-stream"
SERVER: Final = "tidegate"
EXTENSIONS: Final = ("binary_tensor_data", "classification", "model_configuration", "statistics")
TYPES: Final = {"BYTES": "TYPE_STRING"}  # the others are called TYPE_ and their own name


class OpenInference:
    """Handlers of the protocol's paths for one model."""

    def __init__(self, inferring: Inferring, health: Health, settings: Settings, explaining: Explaining | None) -> None:
        model = inferring.model
        self._inferring = inferring
        self._health = health
        self._explaining = explaining
        self._max_body = settings.max_body
        self._codec = InferCodec(model, inferring.signature, settings.max_json_numbers)
        self._metadata = orjson.dumps(metadata(model))
        self._config = orjson.dumps(config(model, settings))

    def routes(self) -> Routes:
        """Every path of the model: without a version, with the bundle's version, with the revision."""
        model = self._inferring.model
        base = f"/v2/models/{model.name}"
        read = partial(ReadOpenInference(model, self._codec, _json_length).read, _send)
        explain = explain_route(self._explaining, read, self._max_body)
        routes = {b"/v2/models/stats": Route.get(self._stats)}
        for prefix in (base, f"{base}/versions/{model.version}", f"{base}/versions/{model.revision}"):
            routes |= {
                prefix.encode(): Route.get(partial(_answer, self._metadata)),
                f"{prefix}/config".encode(): Route.get(partial(_answer, self._config)),
                f"{prefix}/ready".encode(): Route.get(self._ready, OPEN),
                f"{prefix}/stats".encode(): Route.get(self._stats),
                f"{prefix}/infer".encode(): inference_route(self._inferring, self._read, self._max_body),
                f"{prefix}/explain".encode(): explain,
            }
        return routes

    def _ready(self, connection: Connection, request: Request) -> None:  # noqa: ARG002
        _ready(self._health, connection)

    def _stats(self, connection: Connection, request: Request) -> None:  # noqa: ARG002
        model = self._inferring.model
        entry = self._inferring.statistics.document(model.name, model.version)
        connection.answer(200, orjson.dumps({"model_stats": [entry]}))

    def _read(self, connection: Connection, request: Request) -> Asked:
        inference = self._codec.decode(request.body, _json_length(request))
        request.id = inference.id
        return inference.feeds, inference.timeout, _Reply(self._codec, inference, connection, request)


class _Reply:
    """See `inference.Reply`."""

    __slots__ = ("_codec", "_connection", "_inference", "_request")

    def __init__(self, codec: InferCodec, inference: Inference, connection: Connection, request: Request) -> None:
        self._codec, self._inference = codec, inference
        self._connection, self._request = connection, request

    def answer(self, call: Call) -> None:
        self._request.started, self._request.ended = call.started, call.ended
        body, json_length = self._codec.encode(self._inference, call.outputs)
        _send(self._connection, body, json_length)

    def refuse(self, error: RequestError) -> None:
        self._connection.refuse(error)

    def as_it_came(self) -> tuple[Body, int | None]:
        return self._request.body, _json_length(self._request)


def _send(connection: Connection, body: bytes, json_length: int | None) -> None:
    if json_length is None:
        connection.answer(200, body)
    else:
        more = b"inference-header-content-length: %d\r\n" % json_length
        connection.answer(200, body, kind=BINARY, more=more)


def server_routes(health: Health, version: str, *, explains: bool) -> Routes:
    """The paths that are there before any model is."""
    extensions = (*EXTENSIONS, "explain") if explains else EXTENSIONS
    about = orjson.dumps({"name": SERVER, "version": version, "extensions": extensions})
    live = Route.get(lambda connection, _: _live(health, connection), OPEN)
    ready = Route.get(lambda connection, _: _ready(health, connection), OPEN)
    return {b"/v2": Route.get(partial(_answer, about)), b"/v2/health/live": live, b"/v2/health/ready": ready}


def not_ready() -> RequestError:
    """What every path of the model answers while it is loading."""
    return Unavailable("the model is not ready yet")


def metadata(model: LoadedModel) -> dict[str, Any]:
    """What `GET /v2/models/NAME` answers."""
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": "onnxruntime_onnx",
        "inputs": [_tensor(spec.name, spec.element_type, spec.shape) for spec in model.inputs],
        "outputs": [_tensor(spec.name, spec.element_type, spec.shape) for spec in model.outputs],
    }


def config(model: LoadedModel, settings: Settings) -> dict[str, Any]:
    """What `GET /v2/models/NAME/config` answers: the fields public clients look at."""
    rows = settings.most_rows if model.batchable else 0
    skip = 1 if model.batchable else 0

    def port(name: str, element_type: str, shape: tuple[int | str, ...]) -> dict[str, Any]:
        return {
            "name": name,
            "data_type": TYPES.get(element_type, f"TYPE_{element_type}"),
            "dims": _dimensions(shape)[skip:],
        }

    return {
        "name": model.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": rows,
        "input": [port(spec.name, spec.element_type, spec.shape) for spec in model.inputs],
        "output": [port(spec.name, spec.element_type, spec.shape) for spec in model.outputs],
    }


def _tensor(name: str, element_type: str, shape: tuple[int | str, ...]) -> dict[str, Any]:
    return {"name": name, "datatype": element_type, "shape": _dimensions(shape)}


def _dimensions(shape: tuple[int | str, ...]) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in shape]


def _answer(body: bytes, connection: Connection, request: Request) -> None:  # noqa: ARG001 - a handler
    connection.answer(200, body)


def _live(health: Health, connection: Connection) -> None:
    live = health.live
    connection.answer(200 if live else 503, b'{"live":true}' if live else b'{"live":false}')


def _ready(health: Health, connection: Connection) -> None:
    ready = health.ready
    connection.answer(200 if ready else 503, b'{"ready":true}' if ready else b'{"ready":false}', kind=JSON)


def _json_length(request: Request) -> int | None:
    given = request.headers.get(b"inference-header-content-length")
    if given is None:
        return None
    if not given.isdigit() or len(given) > 12:  # noqa: PLR2004
        raise BadRequest("inference-header-content-length must be a whole number of bytes")
    return int(given)
