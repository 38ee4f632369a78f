"""Tensors as a client writes and reads them: JSON and binary over HTTP, raw and typed over gRPC.

Written from the protocol and without the server's own code, so that both sides of it are tested.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as grpc_messages

from tidegate.bundle.element_types import ELEMENT_TYPES

TYPED: Final = {
    **{"BOOL": "bool_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents"},
    **{"INT64": "int64_contents", "UINT64": "uint64_contents"},
    **{f"INT{bits}": "int_contents" for bits in (8, 16, 32)},
    **{f"UINT{bits}": "uint_contents" for bits in (8, 16, 32)},
}
# Sums are rounded in another order where a tensor does not begin at such an address (seen in GroupNormalization).
ALIGNMENT: Final = 16
HALVES: Final = ("FP16", "BF16")


class Tensor(NamedTuple):
    """A tensor; BYTES is an object array of `str`, BF16 the bits as uint16."""

    datatype: str
    array: NDArray[Any]

    @property
    def bits(self) -> tuple[str, list[int], bytes]:
        return self.datatype, list(self.array.shape), raw(self)

    @property
    def finite(self) -> bool:
        return self.array.dtype.kind != "f" or bool(np.isfinite(self.array).all())


Tensors = Mapping[str, Tensor]


class Target(Protocol):
    """What is asked."""

    def http(self, body: bytes, json_length: int | None) -> tuple[bytes, int | None]:
        """An inference request and its answer: bodies, and how long their JSON parts are when there are others."""

    def grpc(self, request: bytes) -> bytes:
        """A ModelInferRequest and its ModelInferResponse."""


Form = Callable[[Target, Tensors], Tensors]


def over_json(target: Target, tensors: Tensors) -> Tensors:
    """What is not finite comes back as NaN: JSON has no more than null for it."""
    inputs = [{**_head(name, tensor), "data": tensor.array.ravel().tolist()} for name, tensor in tensors.items()]
    body, length = target.http(json.dumps({"inputs": inputs, "parameters": {"nonfinite": "null"}}).encode(), None)
    assert length is None
    return {found["name"]: _from_list(found, found["data"]) for found in json.loads(body)["outputs"]}


def over_binary(target: Target, tensors: Tensors) -> Tensors:
    parts = [raw(tensor) for tensor in tensors.values()]
    inputs = [
        {**_head(name, tensor), "parameters": {"binary_data_size": len(part)}}
        for (name, tensor), part in zip(tensors.items(), parts, strict=True)
    ]
    text = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    body, length = target.http(b"".join([text, *parts]), len(text))
    at, outputs = length or 0, {}
    for found in json.loads(body[:at])["outputs"]:
        size = found["parameters"]["binary_data_size"]
        outputs[found["name"]] = _from_raw(found["datatype"], found["shape"], body[at : at + size])
        at += size
    assert at == len(body)
    return outputs


def over_grpc_raw(target: Target, tensors: Tensors) -> Tensors:
    request = grpc_messages.ModelInferRequest(model_name="fraud")
    for name, tensor in tensors.items():
        request.inputs.add(name=name, datatype=tensor.datatype, shape=tensor.array.shape)
        request.raw_input_contents.append(raw(tensor))
    answer = grpc_messages.ModelInferResponse.FromString(target.grpc(request.SerializeToString()))
    # Without inputs nothing says in which form the answer is wanted.
    contents = answer.raw_output_contents or [None] * len(answer.outputs)
    return {
        found.name: _from_typed(found) if content is None else _from_raw(found.datatype, found.shape, content)
        for found, content in zip(answer.outputs, contents, strict=True)
    }


def over_grpc_typed(target: Target, tensors: Tensors) -> Tensors:
    request = grpc_messages.ModelInferRequest(model_name="fraud")
    for name, tensor in tensors.items():
        added = request.inputs.add(name=name, datatype=tensor.datatype, shape=tensor.array.shape)
        values = tensor.array.ravel().tolist()
        values = [text.encode() for text in values] if tensor.datatype == "BYTES" else values
        getattr(added.contents, TYPED[tensor.datatype]).extend(values)
    answer = grpc_messages.ModelInferResponse.FromString(target.grpc(request.SerializeToString()))
    assert not answer.raw_output_contents or any(found.datatype in HALVES for found in answer.outputs)
    return {
        found.name: _from_raw(found.datatype, found.shape, answer.raw_output_contents[index])
        if answer.raw_output_contents
        else _from_typed(found)
        for index, found in enumerate(answer.outputs)
    }


def raw(tensor: Tensor) -> bytes:
    """The values as the binary extension carries them."""
    if tensor.datatype != "BYTES":
        return np.ascontiguousarray(tensor.array).tobytes()
    texts = [text.encode() for text in tensor.array.ravel()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def without_infinity(tensor: Tensor) -> Tensor:
    """The tensor as JSON can say it."""
    datatype, array = tensor
    return tensor if tensor.finite else Tensor(datatype, np.where(np.isfinite(array), array, array.dtype.type("nan")))


def _head(name: str, tensor: Tensor) -> dict[str, Any]:
    return {"name": name, "datatype": tensor.datatype, "shape": list(tensor.array.shape)}


def _from_list(head: Mapping[str, Any], values: list[Any]) -> Tensor:
    return Tensor(head["datatype"], np.array(values, _dtype(head["datatype"])).reshape(head["shape"]))


def _from_raw(datatype: str, shape: Any, content: bytes) -> Tensor:
    if datatype != "BYTES":
        return Tensor(datatype, np.frombuffer(content, _dtype(datatype)).reshape(tuple(shape)))
    texts, at = [], 0
    while at < len(content):
        start = at + 4
        at = start + struct.unpack_from("<I", content, at)[0]
        texts.append(content[start:at].decode())
    return Tensor(datatype, np.array(texts, object).reshape(tuple(shape)))


def _from_typed(found: Any) -> Tensor:
    values = list(getattr(found.contents, TYPED[found.datatype]))
    values = [text.decode() for text in values] if found.datatype == "BYTES" else values
    return Tensor(found.datatype, np.array(values, _dtype(found.datatype)).reshape(tuple(found.shape)))


def _dtype(datatype: str) -> Any:
    return ELEMENT_TYPES[datatype].numpy
