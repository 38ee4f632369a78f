"""One inference request in each protocol's bytes, and the numbers of its answer.

`json` and `binary` are the Open Inference Protocol over HTTP, `grpc` its messages; LitServe and BentoML have a form of
their own, and KServe wants an id in JSON.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import numpy as np
import orjson
from benchmarks.load import post
from benchmarks.models import Array, BenchModel

from tidegate.protocol import open_inference_pb2 as messages

NAME = "bench"
PATH = f"/v2/models/{NAME}/infer"
METHOD = "/inference.GRPCInferenceService/ModelInfer"
JSON_TYPE = "content-type: application/json\r\n"
PATIENCE = 60


@dataclass(frozen=True, slots=True)
class Form:
    """`write` makes the request (over gRPC: its message); `read` takes an answer's body and its JSON part's length."""

    write: Callable[[BenchModel], bytes]
    read: Callable[[bytes, int], Array]


def write_json(model: BenchModel, **more: str) -> bytes:
    tensor = {**_described(model), "data": model.sample().ravel()}
    return post(PATH, orjson.dumps({**more, "inputs": [tensor]}, option=orjson.OPT_SERIALIZE_NUMPY), JSON_TYPE)


def read_json(body: bytes, _: int) -> Array:
    return np.array(orjson.loads(body)["outputs"][0]["data"], np.float32).ravel()


def write_binary(model: BenchModel) -> bytes:
    raw = model.sample().tobytes()
    tensor = {**_described(model), "parameters": {"binary_data_size": len(raw)}}
    text = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    more = f"content-type: application/octet-stream\r\ninference-header-content-length: {len(text)}\r\n"
    return post(PATH, text + raw, more)


def read_binary(body: bytes, json_length: int) -> Array:
    return np.frombuffer(body, np.float32, offset=json_length)


def write_grpc(model: BenchModel) -> bytes:
    asked = messages.ModelInferRequest(model_name=NAME, raw_input_contents=[model.sample().tobytes()])
    asked.inputs.add(**_described(model))
    return bytes(asked.SerializeToString())


def read_grpc(body: bytes, _: int) -> Array:
    answer = messages.ModelInferResponse.FromString(body)
    if answer.raw_output_contents:
        return np.frombuffer(answer.raw_output_contents[0], np.float32)
    return np.array(answer.outputs[0].contents.fp32_contents, np.float32)


def write_litserve(model: BenchModel) -> bytes:
    nested = orjson.dumps({"input": model.sample()}, option=orjson.OPT_SERIALIZE_NUMPY)
    return post("/predict", nested, JSON_TYPE)


def read_litserve(body: bytes, _: int) -> Array:
    return np.array(orjson.loads(body)["output"], np.float32).ravel()


def write_bentoml(model: BenchModel) -> bytes:
    nested = orjson.dumps({"x": model.sample()}, option=orjson.OPT_SERIALIZE_NUMPY)
    return post("/predict", nested, JSON_TYPE)


def read_bentoml(body: bytes, _: int) -> Array:
    return np.array(orjson.loads(body), np.float32).ravel()


def _described(model: BenchModel) -> dict[str, Any]:
    return {"name": model.input, "shape": list(model.shape), "datatype": "FP32"}


FORMS = {
    "json": Form(write_json, read_json),
    "binary": Form(write_binary, read_binary),
    "grpc": Form(write_grpc, read_grpc),
    "kserve": Form(partial(write_json, id="1"), read_json),  # without one it fails on its own answer
    "litserve": Form(write_litserve, read_litserve),
    "bentoml": Form(write_bentoml, read_bentoml),
}


def ask(port: int, request: bytes) -> tuple[int, bytes, int]:
    """Send an HTTP request's bytes once: status, body and length of its JSON part; raises OSError."""
    head, body = request.split(b"\r\n\r\n", 1)
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, dict(line.split(": ", 1) for line in lines))
        answer = connection.getresponse()
        return answer.status, answer.read(), int(answer.headers.get("inference-header-content-length", 0))
    finally:
        connection.close()


def ask_grpc(port: int, message: bytes) -> bytes:
    """Send one ModelInferRequest: the answer's message; raises grpc.RpcError."""
    channel: Any = grpc.insecure_channel(f"127.0.0.1:{port}")
    with channel:
        return bytes(channel.unary_unary(METHOD)(message, timeout=PATIENCE))
