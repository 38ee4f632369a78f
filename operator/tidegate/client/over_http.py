"""The Open Inference Protocol over HTTP with binary tensors: JSON first, then the bytes of each tensor.

Answers are read in JSON too, from servers that know no binary tensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tidegate.bundle.element_types import ELEMENT_TYPES
from tidegate.client.connection import Connection, Reply, Request
from tidegate.client.messages import (
    NONSENSE,
    REVISION,
    Asked,
    ModelMetadata,
    Prediction,
    TensorMetadata,
    not_of_the_protocol,
)
from tidegate.client.tensors import Array, from_bytes, from_values

JSON_LENGTH = "inference-header-content-length"


class HttpTransport:
    """See `messages.Transport`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def infer(self, asked: Asked, seconds: float) -> Prediction:
        text = _said(asked, seconds)
        body = b"".join((text, *(tensor.raw for tensor in asked.inputs)))
        kind = {"content-type": "application/octet-stream", JSON_LENGTH: str(len(text))}
        request = Request("POST", f"{_path(asked.model, asked.version)}/infer", body, kind)
        return _prediction(self._connection.once(request, timeout=seconds))

    def metadata(self, model: str, version: str, seconds: float) -> ModelMetadata:
        return _metadata(self._connection.once(Request("GET", _path(model, version)), timeout=seconds))

    def ready(self, model: str, version: str, seconds: float) -> bool:
        path = f"{_path(model, version)}/ready" if model else "/v2/health/ready"
        self._connection.once(Request("GET", path), timeout=seconds)
        return True

    def close(self) -> None:
        self._connection.close()


def _path(model: str, version: str) -> str:
    below = f"/versions/{quote(version, safe='')}" if version else ""
    return f"/v2/models/{quote(model, safe='')}{below}"


def _said(asked: Asked, seconds: float) -> bytes:
    """The JSON part of the body; the server need not run what nobody waits for any more."""
    document: dict[str, Any] = {
        "inputs": [
            {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape,
             "parameters": {"binary_data_size": len(tensor.raw)}}
            for tensor in asked.inputs
        ],
        "parameters": {"binary_data_output": True, "timeout": max(1, int(seconds * 1e6))},
    }  # fmt: skip
    if asked.outputs:
        document["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in asked.outputs]
    return json.dumps(document).encode()


def _prediction(reply: Reply) -> Prediction:
    """The answer to an inference request; raises ServerFailed when it is none."""
    try:
        size = int(reply.headers.get(JSON_LENGTH, len(reply.body)))
        document = json.loads(reply.body[:size])
        entries, raw = document["outputs"], memoryview(reply.body)[size:]
        return Prediction(
            outputs=dict(_tensors(entries, raw)),
            datatypes={entry["name"]: entry["datatype"] for entry in entries},
            model=str(document["model_name"]),
            version=str(document.get("model_version") or ""),
            revision=reply.headers.get(REVISION, ""),
        )
    except NONSENSE as error:
        not_of_the_protocol(error)


def _tensors(entries: Sequence[Mapping[str, Any]], raw: memoryview) -> Iterator[tuple[str, Array]]:
    at = 0
    for entry in entries:
        datatype, shape = entry["datatype"], entry["shape"]
        if datatype not in ELEMENT_TYPES:
            raise ValueError(f"the type {str(datatype)[:40]!r} is not known here")
        size = (entry.get("parameters") or {}).get("binary_data_size")
        if size is None:
            yield entry["name"], from_values(entry["data"], datatype).reshape(shape)
        else:
            yield entry["name"], from_bytes(raw[at : at + size], datatype, shape)
            at += size


def _metadata(reply: Reply) -> ModelMetadata:
    """What a server says of a model; raises ServerFailed when it is not said in the protocol's way."""
    try:
        document = json.loads(reply.body)
        versions = tuple(map(str, document.get("versions") or ()))
        return ModelMetadata(document["name"], versions, _specs(document["inputs"]), _specs(document["outputs"]))
    except NONSENSE as error:
        not_of_the_protocol(error)


def _specs(entries: Sequence[Mapping[str, Any]]) -> dict[str, TensorMetadata]:
    return {one["name"]: TensorMetadata(one["name"], one["datatype"], tuple(one["shape"])) for one in entries}
