"""Inference requests and answers of the Open Inference Protocol over HTTP, JSON and binary tensors, both ways.

A binary body is the JSON part, `inference-header-content-length` bytes long, then the tensors in the order of the
JSON part, each as long as its `binary_data_size` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from tidegate_runtime import classification
from tidegate_runtime.errors import BadRequest, RunFailed
from tidegate_runtime.interfaces import Array, LoadedModel
from tidegate_runtime.json_reader import SMALL, JsonReader, Shape, check_for_stray_lists, tensor
from tidegate_runtime.signature import LONGEST_SHOWN, MOST_TENSORS, Port, Signature
from tidegate_runtime.types import CARRIERS, Carrier

LONGEST_ID: Final = 256
MICROSECONDS: Final = 1e-6
Body = bytes | bytearray | memoryview


@dataclass(slots=True)
class Wanted:
    """One output a client asked for."""

    index: int
    port: Port
    binary: bool
    carrier: Carrier
    label: bytes  # how its entry in the answer begins
    classes: int = 0  # so many of its highest values instead of the tensor itself


@dataclass(slots=True)
class Inference:
    """A decoded request."""

    id: str
    feeds: dict[str, Array]
    wanted: Sequence[Wanted]
    null_for_nonfinite: bool
    timeout: float  # seconds; 0.0: the client sets no limit of its own


class InferCodec:
    """Reads requests and writes answers for one model; what can be worked out beforehand is."""

    def __init__(self, model: LoadedModel, signature: Signature, most_numbers: int) -> None:
        self._signature = signature
        self._reader = JsonReader(most_numbers)
        ports = list(enumerate(signature.outputs.values()))
        self._all_json = tuple(_whole(index, port, binary=False) for index, port in ports)
        self._all_binary = tuple(_whole(index, port, binary=True) for index, port in ports)
        self._by_name = {port.name: index for index, port in ports}
        self._all_over_json = all(port.carrier.over_json for _, port in ports)
        self._opening = orjson.dumps({"model_name": model.name, "model_version": model.version})[:-1]
        self._classes = model.labels
        self._shapes: dict[Shape, bytes] = {}

    def decode(self, body: Body, header_length: int | None) -> Inference:
        """The request in `body`; raises a RequestError that names what is wrong."""
        text = body if header_length is None else memoryview(body)[:header_length]
        if header_length is not None and header_length > len(body):
            raise BadRequest("inference-header-content-length is larger than the body")
        document = self._reader.read(text)
        if type(document) is not dict:
            raise BadRequest("the body must be a JSON object")
        raw = memoryview(b"") if header_length is None else memoryview(body)[header_length:]
        feeds = self._feeds(document, raw, text)
        self._signature.check_together(feeds)
        parameters = document.get("parameters")
        plain = not parameters and "outputs" not in document
        if plain and self._all_over_json:
            return Inference(_id(document), feeds, self._all_json, False, 0.0)
        return self._with_parameters(document, feeds, _parameters(parameters, "parameters"))

    def _with_parameters(self, document: dict[str, Any], feeds: dict[str, Array], given: dict[str, Any]) -> Inference:
        binary = given.get("binary_data_output", False) is True
        wanted = self._wanted(document.get("outputs"), binary)
        for want in wanted:
            if not want.binary and not want.carrier.over_json:
                raise BadRequest(f"output {want.port.name!r} is {want.carrier.name}: ask for it as binary data")
        if given.get("nonfinite", "null") != "null":
            raise BadRequest('parameters.nonfinite must be "null"')
        timeout = given.get("timeout", 0)
        if type(timeout) is not int or timeout < 0:
            raise BadRequest("parameters.timeout must be a whole number of microseconds")
        return Inference(_id(document), feeds, wanted, "nonfinite" in given, timeout * MICROSECONDS)

    def _wanted(self, outputs: Any, binary: bool) -> Sequence[Wanted]:
        if outputs is None or outputs == []:
            return self._all_binary if binary else self._all_json
        if type(outputs) is not list or len(outputs) > MOST_TENSORS:
            raise BadRequest("outputs must be a list of objects")
        return [self._wanted_one(output, binary) for output in outputs]

    def _wanted_one(self, output: Any, binary: bool) -> Wanted:
        name = _text(output, "name") if type(output) is dict else ""
        port = self._signature.output(name)
        given = _parameters(output.get("parameters"), f"output {name!r}: parameters")
        if "shared_memory_region" in given:
            raise BadRequest(f"output {name!r}: shared memory is not offered")
        index = self._by_name[name]
        as_bytes = given.get("binary_data", binary) is True
        classes = given.get("classification")
        if classes is None:
            return _whole(index, port, binary=as_bytes)
        return _highest(index, port, as_bytes, classification.asked(port.spec, classes))

    def _feeds(self, document: dict[str, Any], raw: memoryview, text: Body) -> dict[str, Array]:
        entries = document.get("inputs")
        if type(entries) is not list or len(entries) > MOST_TENSORS or (self._signature.required and not entries):
            raise BadRequest("inputs must be a list of tensors, at least one")
        feeds: dict[str, Array] = {}
        large: list[tuple[Any, Shape]] = []
        at = 0
        for entry in entries:
            port, shape, count, size = self._declared(entry, feeds)
            try:
                if size is None:
                    values = entry.get("data")
                    feeds[port.name] = tensor(port.carrier, values, shape, count)
                    large.append((values, shape))
                else:
                    feeds[port.name] = _from_bytes(port, raw[at : at + size], size, count).reshape(shape)
                    at += size
            except ValueError as error:
                raise BadRequest(f"input {port.name!r}: {error}") from None
        if at != len(raw):
            raise BadRequest(f"the body has {len(raw) - at} bytes that belong to no input")
        if len(text) > SMALL and large:
            _check_lists(text, large, document)
        return feeds

    def _declared(self, entry: Any, feeds: dict[str, Array]) -> tuple[Port, Shape, int, int | None]:
        """What an input says of itself: its port, shape, number of elements, and its bytes when it is binary."""
        if type(entry) is not dict:
            raise BadRequest("each input must be an object")
        name, shape = _text(entry, "name"), entry.get("shape")
        if type(shape) is not list:
            raise BadRequest(f"input {name[:LONGEST_SHOWN]!r}: shape must be a list of whole numbers")
        port, count = self._signature.declared(name, _text(entry, "datatype"), shape, feeds)
        given = entry.get("parameters")
        return port, tuple(shape), count, _binary_size(name, given, entry) if given else None

    def encode(self, inference: Inference, outputs: Sequence[Array]) -> tuple[bytes, int | None]:
        """The answer's body, and how long its JSON part is when tensors follow it."""
        parts = [self._opening]
        if inference.id:
            parts += (b',"id":', orjson.dumps(inference.id))
        opening, binaries = b',"outputs":[', []
        for want in inference.wanted:
            array = outputs[want.index]
            if want.classes:
                array = classification.highest(want.port.spec, array, want.classes, self._classes)
            parts += (opening, want.label, self._shape(array.shape))
            if want.binary:
                raw = want.carrier.to_bytes(array)
                binaries.append(raw)
                parts.append(b',"parameters":{"binary_data_size":%d}}' % len(raw))
            else:
                parts += (b',"data":', _json_data(want, array, inference.null_for_nonfinite), b"}")
            opening = b","
        parts.append(b"]}")
        text = b"".join(parts)
        return (b"".join([text, *binaries]), len(text)) if binaries else (text, None)

    def _shape(self, shape: Shape) -> bytes:
        found = self._shapes.get(shape)
        if found is None:
            found = orjson.dumps(shape)
            if len(self._shapes) < MOST_TENSORS:
                self._shapes[shape] = found
        return found


def decode(body: Body, header_length: int | None, model: LoadedModel) -> Inference:
    """A request read without the server's limits on rows: the stable version has accepted it already."""
    return InferCodec(model, Signature(model, most_rows=1 << 30), most_numbers=1 << 30).decode(body, header_length)


def _whole(index: int, port: Port, *, binary: bool) -> Wanted:
    return Wanted(index, port, binary, port.carrier, _label(port.name, port.carrier))


def _highest(index: int, port: Port, binary: bool, classes: int) -> Wanted:
    texts = CARRIERS["BYTES"]
    return Wanted(index, port, binary, texts, _label(port.name, texts), classes)


def _label(name: str, carrier: Carrier) -> bytes:
    return orjson.dumps({"name": name, "datatype": carrier.name})[:-1] + b',"shape":'


def _json_data(want: Wanted, array: Array, null_for_nonfinite: bool) -> bytes:
    text = want.carrier.to_json(array)
    # Only a number that is not finite is written with an "n".
    if array.dtype.kind == "f" and not null_for_nonfinite and b"n" in text:
        raise RunFailed(
            f"NonFiniteOutput: output {want.port.name!r} holds NaN or infinity, which JSON cannot carry: "
            'ask for binary data, or set parameters.nonfinite to "null"'
        )
    return text


def _from_bytes(port: Port, raw: memoryview, size: int, count: int) -> Array:
    if len(raw) != size:
        raise ValueError(f"binary_data_size is {size} but only {len(raw)} bytes are left in the body")
    return port.carrier.from_bytes(port.carrier, raw, count)


def _binary_size(name: Any, given: Any, entry: dict[str, Any]) -> int | None:
    parameters = _parameters(given, f"input {name!r}: parameters")
    if "shared_memory_region" in parameters:
        raise BadRequest(f"input {name!r}: shared memory is not offered")
    size = parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise BadRequest(f"input {name!r}: binary_data_size must be a whole number of bytes")
    if "data" in entry:
        raise BadRequest(f"input {name!r}: has both data and binary_data_size")
    return size


def _check_lists(text: Body, tensors: list[tuple[Any, Shape]], document: dict[str, Any]) -> None:
    others = 1 + len(document["inputs"]) + ("outputs" in document)
    try:
        check_for_stray_lists(text, tensors, others)
    except ValueError as error:
        raise BadRequest(str(error)) from None


def _parameters(given: Any, where: str) -> dict[str, Any]:
    if given is None:
        return {}
    if type(given) is not dict or any(isinstance(value, dict | list) for value in given.values()):
        raise BadRequest(f"{where} must be an object of plain values")
    return given


def _id(document: dict[str, Any]) -> str:
    given = document.get("id", "")
    if type(given) is not str or len(given) > LONGEST_ID:
        raise BadRequest(f"id must be a text of at most {LONGEST_ID} characters")
    return given


def _text(document: dict[str, Any], key: str) -> str:
    """The text under `key`; empty, which no name and no type is, when there is none."""
    given = document.get(key)
    return given if type(given) is str else ""
