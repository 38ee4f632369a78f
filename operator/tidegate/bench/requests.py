"""What is sent: golden samples, or inputs that somebody gave, or made-up ones, as requests of the protocol.

Made-up inputs are numbers around zero; whole numbers are 0 and 1, which every embedding and every category has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.bundle.element_types import ELEMENT_TYPES, FLOATS
from tidegate.bundle.golden import read_samples
from tidegate.bundle.manifest import BundleDir, TensorSpec
from tidegate.client import ModelAddress
from tidegate.client.connection import Request
from tidegate.client.messages import Asked, TensorMetadata, tensors
from tidegate.client.over_http import inference, model_path
from tidegate.client.tensors import Array, datatype_of, to_values
from tidegate.errors import Invalid

DIFFERENT = 8  # made-up requests
MOST = 64  # different requests of golden samples
SIZE = 8  # of a dynamic dimension that is not the first
ANY = -1  # in place of a size
PATIENCE = 30.0  # seconds: as a client's own default
WITHOUT_JSON = ("BF16", "FP16")
Inputs = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Questions:
    """Inputs of requests, and what they are in words."""

    inputs: Sequence[Inputs]
    said: str


def of_bundle(bundle: BundleDir, rows: int) -> Questions:
    """The rows of the golden samples, so many a request; made-up ones where there are none."""
    inputs = bundle.manifest.interface.inputs
    samples = [sample.inputs for sample in read_samples(bundle)]
    if not samples:
        return made_up([_tensor(one) for one in inputs if not one.optional], rows)
    if _divisible(samples, [_tensor(one) for one in inputs if one.name in samples[0]]):
        return Questions(in_rows(samples, rows), f"golden samples, {_number(rows, 'row')} a request")
    return Questions(samples, f"{_number(len(samples), 'golden sample')} as they are")


def _tensor(spec: TensorSpec) -> TensorMetadata:
    sizes = tuple(size if isinstance(size, int) else ANY for size in spec.shape)
    return TensorMetadata(spec.name, spec.element_type, sizes)


def _divisible(samples: Sequence[Inputs], tensors: Sequence[TensorMetadata]) -> bool:
    """Whether each row of the samples could be a request of its own."""
    alike = all(sample.keys() == samples[0].keys() for sample in samples)
    return alike and _has_rows(tensors) and all(len({len(one) for one in sample.values()}) == 1 for sample in samples)


def in_rows(samples: Sequence[Inputs], rows: int) -> list[Inputs]:
    """Rows of the samples in their order, so many a request; the last one is filled up from the first rows."""
    whole = {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}
    count = len(next(iter(whole.values())))
    places = (np.arange(-(-count // rows) * rows) % count).reshape(-1, rows)
    every = -(-len(places) // MOST)
    return [{name: array[part] for name, array in whole.items()} for part in places[::every]]


def made_up(tensors: Sequence[TensorMetadata], rows: int) -> Questions:
    """Different inputs, the same ones every time."""
    chance = np.random.default_rng(1)
    several = [{tensor.name: _made_up(tensor, rows, chance) for tensor in tensors} for _ in range(DIFFERENT)]
    guessed = any(_any(size) for tensor in tensors for size in tensor.shape[1:])
    said = f"made-up inputs, {_number(rows, 'row')} a request" if _has_rows(tensors) else "made-up inputs"
    return Questions(several, said + (f", {SIZE} long where any length will do" if guessed else ""))


def _number(count: int, of: str) -> str:
    return f"{count} {of}" + ("s" if count != 1 else "")


def _any(size: int) -> bool:
    return size < 0


def _has_rows(tensors: Sequence[TensorMetadata]) -> bool:
    """Whether a request may have any number of rows, and nothing else of it is open."""
    return all(one.shape and _any(one.shape[0]) and not any(map(_any, one.shape[1:])) for one in tensors)


def _made_up(tensor: TensorMetadata, rows: int, chance: np.random.Generator) -> Array:
    if tensor.datatype not in ELEMENT_TYPES:
        raise Invalid(f"the type {tensor.datatype[:40]!r} is not known here", where=f"input {tensor.name!r}")
    shape = [(rows if axis == 0 else SIZE) if _any(size) else size for axis, size in enumerate(tensor.shape)]
    if tensor.datatype == "BYTES":
        return np.full(shape, "tidegate", object)
    if tensor.datatype == "BF16":
        return (chance.standard_normal(shape).astype(np.float32).view(np.uint32) >> 16).astype("<u2").view("V2")
    drawn = chance.standard_normal(shape) if tensor.datatype in FLOATS else chance.integers(0, 2, shape)
    return np.asarray(drawn.astype(ELEMENT_TYPES[tensor.datatype].numpy))


def request_of(address: ModelAddress, inputs: Inputs, form: str) -> Request:
    """One request, its tensors as `json` or `binary`; raises Invalid for inputs that cannot be sent so."""
    if form == "binary":
        return inference(Asked(address.model, address.version, tensors(inputs), ()), PATIENCE)
    document = {"inputs": [_in_json(name, array) for name, array in inputs.items()]}
    path = f"{model_path(address.model, address.version)}/infer"
    return Request("POST", path, json.dumps(document).encode(), {"content-type": "application/json"})


def _in_json(name: str, array: Array) -> dict[str, Any]:
    datatype = datatype_of(array)
    if datatype in WITHOUT_JSON:
        raise Invalid(f"{datatype} cannot be written as JSON", where=f"input {name!r}", do="use --protocol binary")
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": to_values(array.ravel())}


def request_bytes(host: str, path: str, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """A POST as it goes over the wire."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\n{lines}content-length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body
