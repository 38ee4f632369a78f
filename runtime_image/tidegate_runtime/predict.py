"""The REST API of TensorFlow Serving, which KServe calls its v1 protocol: its paths, and what each answers.

Clients of both move over by changing the address.  Here a version is an integer, the number of the rollout's revision,
and there is one signature.  What an ONNX model cannot answer (examples, labels) is refused with a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import orjson

from tidegate.bundle.manifest import TensorSpec
from tidegate_runtime.batcher import Call
from tidegate_runtime.clients import OPEN
from tidegate_runtime.errors import RequestError
from tidegate_runtime.explain_routes import ReadPredict, explain_route
from tidegate_runtime.explaining import Explaining
from tidegate_runtime.health import Health
from tidegate_runtime.http import Connection
from tidegate_runtime.inference import Inferring
from tidegate_runtime.interfaces import LoadedModel, Source
from tidegate_runtime.over_http import Asked, inference_route
from tidegate_runtime.predict_codec import SIGNATURE, PredictCodec, Prediction
from tidegate_runtime.request import Request
from tidegate_runtime.routes import Route, Routes
from tidegate_runtime.settings import Settings

NOT_OFFERED: Final = ("classify", "regress")
TYPES: Final = {"FP16": "DT_HALF", "BF16": "DT_BFLOAT16", "FP32": "DT_FLOAT", "FP64": "DT_DOUBLE",
                "BYTES": "DT_STRING"}  # fmt: skip  # the others are called DT_ and their own name


class Predicting:
    """Handlers of the API's paths for one model."""

    def __init__(self, inferring: Inferring, health: Health, settings: Settings, explaining: Explaining | None) -> None:
        self._inferring = inferring
        self._health = health
        self._explaining = explaining
        self._max_body = settings.max_body
        self._version = str(settings.revision_number)
        self._codec = PredictCodec(inferring.signature, settings.max_json_numbers)

    def routes(self) -> Routes:
        """Every path of the model: without a version, and with its number."""
        model = self._inferring.model
        base = f"/v1/models/{model.name}"
        about = orjson.dumps(metadata(model, self._version))
        predict = inference_route(self._inferring, self._read, self._max_body)
        explain = explain_route(self._explaining, ReadPredict(model, self._codec).read, self._max_body)
        routes = {b"/v1/models": _always(orjson.dumps({"models": [model.name]}))}
        for prefix in (base, f"{base}/versions/{self._version}"):
            routes |= {
                prefix.encode(): Route.get(self._status, OPEN),  # KServe's clients ask it whether the model is ready
                f"{prefix}/metadata".encode(): _always(about),
                f"{prefix}:predict".encode(): predict,
                f"{prefix}:explain".encode(): explain,
            }
            for verb in NOT_OFFERED:
                # Before the body is read, and counted by nobody: it is no evidence against the model.
                sentence = f":{verb} is not offered: send tensors to {base}:predict"
                routes[f"{prefix}:{verb}".encode()] = replace(predict, refusal=partial(_not_offered, sentence))
        return routes

    def _status(self, connection: Connection, request: Request) -> None:  # noqa: ARG002 - a handler
        ready = self._health.ready
        body = orjson.dumps(status(self._inferring.model.name, self._version, ready))
        connection.answer(200 if ready else 503, body)

    def _read(self, connection: Connection, request: Request) -> Asked:
        prediction = self._codec.decode(request.body)
        return prediction.feeds, 0.0, _Reply(self._codec, prediction, connection, request)


class _Reply:
    """See `inference.Reply`."""

    __slots__ = ("_codec", "_connection", "_prediction", "_request")

    def __init__(self, codec: PredictCodec, prediction: Prediction, connection: Connection, request: Request) -> None:
        self._codec, self._prediction = codec, prediction
        self._connection, self._request = connection, request

    def answer(self, call: Call) -> None:
        self._request.started, self._request.ended = call.started, call.ended
        self._connection.answer(200, self._codec.encode(self._prediction, call.outputs))

    def refuse(self, error: RequestError) -> None:
        self._connection.refuse(error)

    def as_it_came(self) -> None:
        """A candidate is asked in the Open Inference Protocol only."""


def _not_offered(sentence: str, source: Source) -> RequestError:  # noqa: ARG001 - see Route.refusal
    return RequestError(sentence, 501)


def alive_routes(health: Health) -> Routes:
    """Whether the server lives, as KServe's clients ask; there before any model is."""
    return {b"/": Route.get(lambda connection, _: _alive(health, connection), OPEN)}


def _alive(health: Health, connection: Connection) -> None:
    live = health.live
    connection.answer(200 if live else 503, b'{"status":"alive"}' if live else b'{"status":"stuck"}')


def _always(body: bytes) -> Route:
    return Route.get(lambda connection, _: connection.answer(200, body))


def status(name: str, version: str, ready: bool) -> dict[str, Any]:
    """What `GET /v1/models/NAME` answers: KServe's clients read `ready`, TensorFlow Serving's the list."""
    state = "AVAILABLE" if ready else "UNLOADING"
    entry = {"version": version, "state": state, "status": {"error_code": "OK", "error_message": ""}}
    return {"name": name, "ready": ready, "model_version_status": [entry]}


def metadata(model: LoadedModel, version: str) -> dict[str, Any]:
    """What `GET /v1/models/NAME/metadata` answers."""
    signature = {
        "inputs": _ports(model.inputs),
        "outputs": _ports(model.outputs),
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": version},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
    }


def _ports(specs: Sequence[TensorSpec]) -> dict[str, Any]:
    return {spec.name: _port(spec) for spec in specs}


def _port(spec: TensorSpec) -> dict[str, Any]:
    dimensions = [
        {"size": str(size), "name": ""} if isinstance(size, int) else {"size": "-1", "name": size}
        for size in spec.shape
    ]
    return {
        "dtype": TYPES.get(spec.element_type, f"DT_{spec.element_type}"),
        "tensor_shape": {"dim": dimensions, "unknown_rank": False},
        "name": spec.name,
    }
