"""Inference requests and answers of the Open Inference Protocol over gRPC, from messages to arrays and back.

The values of a tensor are bytes beside all tensors ("raw"), or numbers and texts in the field that its datatype says
("typed").  An answer has the form of its request, as clients of either kind expect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.protocol import CONTENTS
from tidegate.protocol.open_inference_pb2 import (
    InferParameter,
    ModelInferRequest,
    ModelInferResponse,
)
from tidegate_runtime import classification, parameters
from tidegate_runtime.errors import BadRequest
from tidegate_runtime.interfaces import Array, LoadedModel
from tidegate_runtime.signature import MOST_TENSORS, Port, Signature
from tidegate_runtime.types import Carrier
from tidegate_runtime.wanted import Wanted


@dataclass(slots=True)
class GrpcInference:
    """A decoded request."""

    id: str
    feeds: dict[str, Array]
    wanted: Sequence[Wanted]
    raw: bool  # how it is answered
    timeout: float  # seconds; 0.0: the client sets no limit in its parameters


class GrpcCodec:
    """Reads requests and writes answers for one model."""

    def __init__(self, model: LoadedModel, signature: Signature) -> None:
        self._signature = signature
        self._name, self._version, self._labels = model.name, model.version, model.labels
        ports = list(enumerate(signature.outputs.values()))
        self._all = tuple(Wanted(index, port) for index, port in ports)
        self._by_name = {port.name: index for index, port in ports}

    def decode(self, request: ModelInferRequest) -> GrpcInference:
        """The request as arrays; raises a BadRequest that names what is wrong."""
        name = parameters.request_id(request.id)
        feeds = self._feeds(request)
        self._signature.check_together(feeds)
        wanted = self._wanted(request)
        raw = len(request.raw_input_contents) > 0 or any(want.carrier.name not in CONTENTS for want in wanted)
        return GrpcInference(name, feeds, wanted, raw, _timeout(request.parameters) if request.parameters else 0.0)

    def encode(self, inference: GrpcInference, outputs: Sequence[Array]) -> ModelInferResponse:
        """The answer, with the tensors that were asked for."""
        answer = ModelInferResponse(model_name=self._name, model_version=self._version, id=inference.id)
        for want in inference.wanted:
            array, carrier = want.of(outputs, self._labels), want.carrier
            tensor = answer.outputs.add(name=want.port.name, datatype=carrier.name, shape=array.shape)
            if inference.raw:
                answer.raw_output_contents.append(bytes(carrier.to_bytes(array)))
            else:
                getattr(tensor.contents, CONTENTS[carrier.name]).extend(_plain_values(carrier, array))
        return answer

    def _feeds(self, request: ModelInferRequest) -> dict[str, Array]:
        tensors, raws = request.inputs, request.raw_input_contents
        self._signature.require_number(len(tensors))
        if raws and len(raws) != len(tensors):
            raise BadRequest(f"raw_input_contents must have an entry for each input: {len(raws)} for {len(tensors)}")
        feeds: dict[str, Array] = {}
        for index, tensor in enumerate(tensors):
            port, count = self._signature.declared(tensor.name, tensor.datatype, tensor.shape, feeds)
            parameters.refuse_shared_memory(f"input {port.name!r}", tensor.parameters)
            try:
                values = _from_raw(port, tensor, raws[index], count) if raws else _from_typed(port, tensor, count)
            except ValueError as error:
                raise BadRequest(f"input {port.name!r}: {error}") from None
            feeds[port.name] = values.reshape(tuple(tensor.shape))
        return feeds

    def _wanted(self, request: ModelInferRequest) -> Sequence[Wanted]:
        if not request.outputs:
            return self._all
        if len(request.outputs) > MOST_TENSORS:
            raise BadRequest(f"outputs must be at most {MOST_TENSORS}")
        return [self._wanted_one(output.name, output.parameters) for output in request.outputs]

    def _wanted_one(self, name: str, given: Mapping[str, InferParameter]) -> Wanted:
        port = self._signature.output(name)
        parameters.refuse_shared_memory(f"output {name!r}", given)
        if "classification" not in given:
            return self._all[self._by_name[name]]
        classes = classification.asked(port.spec, _value(given["classification"]))
        return Wanted(self._by_name[name], port, classes)


def _from_raw(port: Port, tensor: ModelInferRequest.InferInputTensor, raw: bytes, count: int) -> Array:
    if tensor.HasField("contents"):
        raise ValueError("has both contents and raw_input_contents")
    return port.carrier.from_bytes(port.carrier, memoryview(raw), count)


def _from_typed(port: Port, tensor: ModelInferRequest.InferInputTensor, count: int) -> Array:
    carrier = port.carrier
    field = CONTENTS.get(carrier.name)
    if field is None:
        raise ValueError(f"{carrier.name} has no typed contents: use raw_input_contents")
    given = getattr(tensor.contents, field)
    if len(given) != count:
        raise ValueError(f"its shape needs {count} values in {field} but it has {len(given)}")
    values: list[Any] = given[:]
    if carrier.dtype.kind == "f":
        return np.array(values, carrier.dtype)  # NaN and infinity are values here
    return carrier.from_list(carrier, _texts(values) if carrier.name == "BYTES" else values)


def _texts(values: Sequence[bytes]) -> list[str]:
    texts = []
    for index, value in enumerate(values):
        try:
            texts.append(value.decode())
        except UnicodeDecodeError:
            raise ValueError(f"element {index} is not UTF-8") from None
    return texts


def _plain_values(carrier: Carrier, array: Array) -> list[Any]:
    values: list[Any] = array.ravel().tolist()
    return [text.encode() for text in values] if carrier.name == "BYTES" else values


def _timeout(given: Mapping[str, InferParameter]) -> float:
    return parameters.timeout(_value(given["timeout"])) if "timeout" in given else 0.0


def _value(parameter: InferParameter) -> bool | int | float | str | None:
    choice = parameter.WhichOneof("parameter_choice")
    return getattr(parameter, choice) if choice else None
