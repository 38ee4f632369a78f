"""The Open Inference Protocol v2 over HTTP: its paths, what each answers, and inference through the engine."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson

from tidegate_runtime.batcher import Call
from tidegate_runtime.engine import Engine
from tidegate_runtime.errors import BadRequest, RequestError, RunFailed, TooSlow, Unavailable
from tidegate_runtime.health import Health
from tidegate_runtime.http import JSON, Connection
from tidegate_runtime.infer import InferCodec, Inference
from tidegate_runtime.interfaces import Kind, LoadedModel, Recorder, Shadow
from tidegate_runtime.request import Request
from tidegate_runtime.routes import Route, Routes
from tidegate_runtime.settings import Settings
from tidegate_runtime.statistics import Statistics

LOG = logging.getLogger(__name__)
BINARY: Final = b"application/octet-stream"
SERVER: Final = "tidegate"
LONG_TEXTS: Final = 16384  # bytes of a request with texts above which its run is not made on the loop
TYPES: Final = {"BYTES": "TYPE_STRING"}  # the others are called TYPE_ and their own name


@dataclass(frozen=True, slots=True)
class Serving:
    """What inference over HTTP works with, once the model is ready."""

    model: LoadedModel
    codec: InferCodec
    engine: Engine
    recorder: Recorder
    shadow: Shadow
    health: Health
    settings: Settings


class OpenInference:
    """Handlers of the protocol's paths for one model."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._statistics = Statistics()
        self._has_texts = any(spec.element_type == "BYTES" for spec in serving.model.inputs)
        self._metadata = orjson.dumps(metadata(serving.model))
        self._config = orjson.dumps(config(serving.model, serving.settings))

    def routes(self) -> Routes:
        """Every path of the model: without a version, with the bundle's version, with the revision."""
        model = self._serving.model
        base = f"/v2/models/{model.name}"
        routes = {b"/v2/models/stats": Route.get(self._stats)}
        for prefix in (base, f"{base}/versions/{model.version}", f"{base}/versions/{model.revision}"):
            routes |= {
                prefix.encode(): Route.get(partial(_answer, self._metadata)),
                f"{prefix}/config".encode(): Route.get(partial(_answer, self._config)),
                f"{prefix}/ready".encode(): Route.get(self._ready),
                f"{prefix}/stats".encode(): Route.get(self._stats),
                f"{prefix}/infer".encode(): Route({b"POST": self._infer}, self._admits),
            }
        return routes

    def _ready(self, connection: Connection, request: Request) -> None:  # noqa: ARG002
        _ready(self._serving.health, connection)

    def _stats(self, connection: Connection, request: Request) -> None:  # noqa: ARG002
        model = self._serving.model
        connection.answer(200, orjson.dumps({"model_stats": [self._statistics.document(model.name, model.version)]}))

    def _admits(self) -> RequestError | None:
        """A full queue refuses a request before its body is read."""
        engine = self._serving.engine
        if not engine.admission.full:
            return None
        self._serving.recorder.answered("requests", 429, 0.0, 0.0, 0.0)
        return engine.refuse()

    def _infer(self, connection: Connection, request: Request) -> None:
        serving = self._serving
        try:
            header_length = _header_length(request)
            inference = serving.codec.decode(request.body, header_length)
            call = self._call(connection, request, inference)
            serving.engine.submit(call)
        except RequestError as error:
            total = time.monotonic() - request.arrived
            serving.recorder.answered(kind_of(request), error.status, 0.0, 0.0, total)
            connection.refuse(error)
            return
        connection.abandon = partial(self._left, call)

    def _call(self, connection: Connection, request: Request, inference: Inference) -> Call:
        limit = self._serving.settings.request_timeout
        seconds = inference.timeout or limit
        signature = self._serving.codec.signature
        return Call(
            feeds=inference.feeds,
            rows=signature.rows(inference.feeds),
            key=signature.key(inference.feeds),
            done=partial(self._done, connection, request, inference),
            arrived=request.arrived,
            deadline=request.arrived + seconds,
            short=not (self._has_texts and len(request.body) > LONG_TEXTS),
        )

    def _left(self, call: Call) -> None:
        self._serving.engine.cancel(call)
        self._serving.recorder.left()

    def _done(self, connection: Connection, request: Request, inference: Inference, call: Call) -> None:
        """Write the answer of a call that was run, or that failed; then count and show it."""
        serving = self._serving
        status = self._write(connection, inference, call)
        queue, compute = max(0.0, call.started - call.arrived), call.ended - call.started
        total = time.monotonic() - call.arrived
        serving.recorder.answered(kind_of(request), status, queue, compute, total)
        self._statistics.answered(status, call.rows, queue, compute, total)
        if serving.shadow.wants and status == 200:  # noqa: PLR2004
            self._show(request, call)

    def _write(self, connection: Connection, inference: Inference, call: Call) -> int:
        try:
            if call.error is not None:
                raise _fair(call.error, inference)
            body, json_length = self._serving.codec.encode(inference, call.outputs)
        except RequestError as error:
            connection.refuse(error)
            return error.status
        except Exception:  # what the model gave is not what its interface says
            LOG.exception("the answer cannot be written")
            connection.refuse(RunFailed("the model's outputs cannot be written as an answer"))
            return RunFailed.status
        if json_length is None:
            connection.answer(200, body)
        else:
            more = b"inference-header-content-length: %d\r\n" % json_length
            connection.answer(200, body, kind=BINARY, more=more)
        return 200

    def _show(self, request: Request, call: Call) -> None:
        names = [spec.name for spec in self._serving.model.outputs]
        outputs = dict(zip(names, call.outputs, strict=True))
        self._serving.shadow.offer(bytes(request.body), _header_length(request), outputs)


def _fair(error: Exception, inference: Inference) -> Exception:
    """A client that gave its request too little time is told so, and it is no evidence against the model."""
    if inference.timeout and isinstance(error, TooSlow):
        return RequestError("the request's own timeout ran out", 408)
    return error


def server_routes(health: Health, version: str) -> Routes:
    """The paths that are there before any model is."""
    about = orjson.dumps({"name": SERVER, "version": version, "extensions": ["binary_tensor_data", "statistics",
                                                                             "model_configuration"]})  # fmt: skip
    live = Route.get(lambda connection, _: connection.answer(200 if health.live else 503, b"{}"))
    ready = Route.get(lambda connection, _: _ready(health, connection))
    return {b"/v2": Route.get(partial(_answer, about)), b"/v2/health/live": live, b"/v2/health/ready": ready}


def not_ready() -> RequestError:
    """What every path of the model answers while it is loading."""
    return Unavailable("the model is not ready yet")


def kind_of(request: Request) -> Kind:
    """Whether the request's version was chosen by the split or pinned by the client."""
    return "pinned" if b"x-tidegate-pinned" in request.headers else "requests"


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
    rows = settings.max_batch_request if model.batchable else 0
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


def _ready(health: Health, connection: Connection) -> None:
    ready = health.ready
    connection.answer(200 if ready else 503, b'{"ready":true}' if ready else b'{"ready":false}', kind=JSON)


def _header_length(request: Request) -> int | None:
    given = request.headers.get(b"inference-header-content-length")
    if given is None:
        return None
    if not given.isdigit() or len(given) > 12:  # noqa: PLR2004
        raise BadRequest("inference-header-content-length must be a whole number of bytes")
    return int(given)
