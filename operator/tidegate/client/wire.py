"""Requests and answers of the Open Inference Protocol, with binary tensors: JSON first, then the bytes of each tensor.

Answers are read in JSON too, from servers that know no binary tensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.bundle.element_types import ELEMENT_TYPES
from tidegate.client.connection import REVISION, Reply
from tidegate.client.errors import ServerFailed
from tidegate.client.tensors import Array, datatype_of, from_bytes, from_values, to_bytes
from tidegate.errors import Invalid

JSON_LENGTH = "inference-header-content-length"
NONSENSE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)  # what reading it as an answer ends with


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """An input or output; -1 in `shape` is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a model takes and gives, by name and in order."""

    name: str
    versions: tuple[str, ...]
    inputs: Mapping[str, TensorMetadata]
    outputs: Mapping[str, TensorMetadata]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction(Mapping[str, Array]):
    """The outputs by name, and which version gave them.

    `version` is the bundle's, `revision` the rollout's (empty when the server is none of Tidegate's).  Arrays of
    numbers are views of the answer and cannot be written to.
    """

    outputs: Mapping[str, Array]
    datatypes: Mapping[str, str]
    model: str
    version: str
    revision: str

    def __getitem__(self, name: str) -> Array:
        return self.outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request's inputs as they are sent, and the outputs it wants; made once, however often it is sent."""

    entries: Sequence[Mapping[str, Any]]
    tensors: bytes
    outputs: Sequence[str]

    def body(self, seconds: float) -> tuple[bytes, int]:
        """The body and the length of its JSON part; the server need not run what nobody waits for any more."""
        document: dict[str, Any] = {
            "inputs": self.entries,
            "parameters": {"binary_data_output": True, "timeout": max(1, int(seconds * 1e6))},
        }
        if self.outputs:
            document["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in self.outputs]
        text = json.dumps(document).encode()
        return text + self.tensors, len(text)


def asked(inputs: Mapping[str, npt.ArrayLike], outputs: Sequence[str]) -> Asked:
    """Inputs by name, of the types that they have: nothing is converted; raises Invalid for what cannot be sent."""
    entries, tensors = [], []
    for name, given in inputs.items():
        array = np.asarray(given)
        try:
            datatype = datatype_of(array)
            raw = to_bytes(array, datatype)
        except ValueError as error:
            raise Invalid(str(error), where=f"input {name!r}") from None
        tensors.append(raw)
        entry = {"name": name, "datatype": datatype, "shape": array.shape}
        entries.append({**entry, "parameters": {"binary_data_size": len(raw)}})
    return Asked(entries, b"".join(tensors), outputs)


def prediction(reply: Reply) -> Prediction:
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
        raise _not_of_the_protocol(error) from None


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


def model_metadata(reply: Reply) -> ModelMetadata:
    """What a server says of a model; raises ServerFailed when it is not said in the protocol's way."""
    try:
        document = json.loads(reply.body)
        versions = tuple(map(str, document.get("versions") or ()))
        return ModelMetadata(document["name"], versions, _specs(document["inputs"]), _specs(document["outputs"]))
    except NONSENSE as error:
        raise _not_of_the_protocol(error) from None


def _specs(entries: Sequence[Mapping[str, Any]]) -> dict[str, TensorMetadata]:
    return {one["name"]: TensorMetadata(one["name"], one["datatype"], tuple(one["shape"])) for one in entries}


def _not_of_the_protocol(error: Exception) -> ServerFailed:
    return ServerFailed(
        f"the answer is not of the Open Inference Protocol: {type(error).__name__}: {error}", status=200
    )
