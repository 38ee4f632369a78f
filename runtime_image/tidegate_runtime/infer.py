"""Inference requests and answers of the Open Inference Protocol over HTTP, JSON and binary tensors, both ways.

A binary body is the JSON part, `inference-header-content-length` bytes long, then the tensors in the order of the
JSON part, each as long as its `binary_data_size` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from tidegate_runtime.errors import BadRequest, RunFailed
from tidegate_runtime.interfaces import Array, LoadedModel
from tidegate_runtime.json_reader import SMALL, JsonReader, Shape, check_for_stray_lists, tensor
from tidegate_runtime.signature import Port, Signature

MOST_TENSORS: Final = 1024
LONGEST_ID: Final = 256
MICROSECONDS: Final = 1e-6
Body = bytes | bytearray | memoryview


@dataclass(slots=True)
class Wanted:
    """One output a client asked for."""

    index: int
    port: Port
    binary: bool


@dataclass(slots=True)
class Inference:
    """A decoded request."""

    id: str
    feeds: dict[str, Array]
    wanted: Sequence[Wanted]
    null_for_nonfinite: bool
    timeout: float  # seconds, when the client asks for less than the server allows; else 0


class InferCodec:
    """Reads requests and writes answers for one model; what can be worked out beforehand is."""

    def __init__(self, model: LoadedModel, *, most_rows: int, most_numbers: int, longest: float) -> None:
        self._longest = longest
        self.signature = Signature(model, most_rows)
        self._reader = JsonReader(most_numbers)
        ports = list(self.signature.outputs.values())
        self._all_json = tuple(Wanted(index, port, False) for index, port in enumerate(ports))
        self._all_binary = tuple(Wanted(index, port, True) for index, port in enumerate(ports))
        self._by_name = {port.name: index for index, port in enumerate(ports)}
        self._not_json = [port for port in ports if not port.carrier.over_json]
        names = {"model_name": model.name, "model_version": model.version}
        self._opening = orjson.dumps(names)[:-1]
        self._labels = [
            orjson.dumps({"name": port.name, "datatype": port.carrier.name})[:-1] + b',"shape":' for port in ports
        ]
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
        self.signature.check_together(feeds)
        parameters = document.get("parameters")
        plain = not parameters and "outputs" not in document
        if plain and not self._not_json:
            return Inference(_id(document), feeds, self._all_json, False, 0.0)
        return self._with_parameters(document, feeds, _parameters(parameters, "parameters"))

    def _with_parameters(self, document: dict[str, Any], feeds: dict[str, Array], given: dict[str, Any]) -> Inference:
        binary = given.get("binary_data_output", False) is True
        wanted = self._wanted(document.get("outputs"), binary)
        for want in wanted:
            if not want.binary and not want.port.carrier.over_json:
                raise BadRequest(f"output {want.port.name!r} is {want.port.carrier.name}: ask for it as binary data")
        if given.get("nonfinite", "null") != "null":
            raise BadRequest('parameters.nonfinite must be "null"')
        timeout = given.get("timeout", 0)
        if type(timeout) is not int or timeout < 0:
            raise BadRequest("parameters.timeout must be a whole number of microseconds")
        seconds = timeout * MICROSECONDS
        return Inference(
            _id(document), feeds, wanted, "nonfinite" in given, seconds if seconds < self._longest else 0.0
        )

    def _wanted(self, outputs: Any, binary: bool) -> Sequence[Wanted]:
        if outputs is None or outputs == []:
            return self._all_binary if binary else self._all_json
        if type(outputs) is not list or len(outputs) > MOST_TENSORS:
            raise BadRequest("outputs must be a list of objects")
        return [self._wanted_one(output, binary) for output in outputs]

    def _wanted_one(self, output: Any, binary: bool) -> Wanted:
        name = output.get("name") if type(output) is dict else None
        if type(name) is not str or name not in self._by_name:
            raise BadRequest(f"output {_quoted(name)} is not one of the model's: {_list(self._by_name)}")
        given = _parameters(output.get("parameters"), f"output {name!r}: parameters")
        if "classification" in given:
            raise BadRequest(f"output {name!r}: the classification extension is not offered")
        return Wanted(self._by_name[name], self.signature.outputs[name], given.get("binary_data", binary) is True)

    def _feeds(self, document: dict[str, Any], raw: memoryview, text: Body) -> dict[str, Array]:
        entries = document.get("inputs")
        if type(entries) is not list or not 0 < len(entries) <= MOST_TENSORS:
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
        name = entry.get("name")
        port = self.signature.inputs.get(name) if type(name) is str else None
        if port is None:
            raise BadRequest(f"input {_quoted(name)} is not one of the model's: {_list(self.signature.inputs)}")
        if name in feeds:
            raise BadRequest(f"input {name!r} is there twice")
        if entry.get("datatype") != port.carrier.name:
            raise BadRequest(
                f"input {name!r}: datatype {port.carrier.name} is expected, not {_quoted(entry.get('datatype'))}"
            )
        shape = entry.get("shape")
        try:
            if type(shape) is not list:
                raise ValueError("shape must be a list of whole numbers")
            count = port.count(shape)
        except ValueError as error:
            raise BadRequest(f"input {name!r}: {error}") from None
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
            parts += (opening, self._labels[want.index], self._shape(array.shape))
            if want.binary:
                raw = want.port.carrier.to_bytes(array)
                binaries.append(raw)
                parts.append(b',"parameters":{"binary_data_size":%d}}' % len(raw))
            else:
                parts += (b',"data":', _json_data(want.port, array, inference.null_for_nonfinite), b"}")
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
    return InferCodec(model, most_rows=1 << 30, most_numbers=1 << 30, longest=0.0).decode(body, header_length)


def _json_data(port: Port, array: Array, null_for_nonfinite: bool) -> bytes:
    text = port.carrier.to_json(array)
    # Only a number that is not finite is written with an "n".
    if array.dtype.kind == "f" and not null_for_nonfinite and b"n" in text:
        raise RunFailed(
            f"NonFiniteOutput: output {port.name!r} holds NaN or infinity, which JSON cannot carry: "
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


def _quoted(name: Any) -> str:
    return repr(name[:128]) if type(name) is str else "without a name"


def _list(names: Any) -> str:
    return ", ".join(repr(name) for name in list(names)[:32])


def feeds_size(feeds: dict[str, Array]) -> int:
    """Bytes of all inputs; texts count eight each."""
    return sum(array.nbytes for array in feeds.values())
