"""Inference requests and answers of the Open Inference Protocol over HTTP, JSON and binary tensors, both ways.

A binary body is the JSON part, `inference-header-content-length` bytes long, then the tensors in the order of the
JSON part, each as long as its `binary_data_size` says.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from tidegate.bundle.manifest import TensorSpec
from tidegate_runtime import classification, parameters
from tidegate_runtime.errors import BadRequest, RunFailed
from tidegate_runtime.interfaces import Array, Body, LoadedModel
from tidegate_runtime.json_reader import (
    JsonReader,
    Lifted,
    Shape,
    document,
    lifted,
    tensor,
    tensor_of_numbers,
)
from tidegate_runtime.signature import LONGEST_SHOWN, MOST_TENSORS, Port, Signature
from tidegate_runtime.wanted import Wanted

REMEMBERED: Final = 64  # JSON parts without their numbers: reading one again costs 3 µs
SMALL: Final = 2048  # bytes of one that is remembered
NOTHING: Final = memoryview(b"")
ELEMENT_OF: Final = {"f": "FP32", "d": "FP64", "U": "BYTES"}  # by numpy's letters


@dataclass(slots=True)
class WantedOverHttp(Wanted):
    """One output that a client asked for, in JSON or binary."""

    binary: bool = False
    label: bytes = field(init=False)  # how its entry in the answer begins

    def __post_init__(self) -> None:
        Wanted.__post_init__(self)  # super() does not know a class with slots
        about = orjson.dumps({"name": self.port.name, "datatype": self.carrier.name})
        self.label = about[:-1] + b',"shape":'


@dataclass(slots=True)
class Inference:
    """A decoded request."""

    id: str
    feeds: dict[str, Array]
    wanted: Sequence[WantedOverHttp]
    null_for_nonfinite: bool
    timeout: float  # seconds; 0.0: the client sets no limit of its own


@dataclass(slots=True)
class Layout:
    """What the JSON part of a request says beside its numbers, and was found to be right."""

    inputs: Sequence[tuple[Port, Shape, int, int | None, int]]  # elements; bytes of a binary one; place of a lifted one
    wanted: Sequence[WantedOverHttp]
    null_for_nonfinite: bool
    timeout: float

    def inference(self, arrays: list[Lifted], raw: memoryview) -> Inference:
        """The request with these numbers; raises a BadRequest that names what is wrong."""
        feeds: dict[str, Array] = {}
        at = 0
        for port, shape, count, size, place in self.inputs:
            try:
                if size is None:
                    feeds[port.name] = tensor_of_numbers(port.carrier, arrays[place], shape, count)
                else:
                    feeds[port.name] = _from_bytes(port, raw[at : at + size], size, count).reshape(shape)
                    at += size
            except ValueError as error:
                raise BadRequest(f"input {port.name!r}: {error}") from None
        _require_end(raw, at)
        return Inference("", feeds, self.wanted, self.null_for_nonfinite, self.timeout)


class InferCodec:
    """Reads requests and writes answers for one model; what can be worked out beforehand is."""

    def __init__(self, model: LoadedModel, signature: Signature, most_numbers: int) -> None:
        self._signature = signature
        self._reader = JsonReader(most_numbers)
        ports = list(enumerate(signature.outputs.values()))
        self._all_json = tuple(WantedOverHttp(index, port) for index, port in ports)
        self._all_binary = tuple(WantedOverHttp(index, port, binary=True) for index, port in ports)
        self._by_name = {port.name: index for index, port in ports}
        self._all_over_json = all(port.carrier.over_json for _, port in ports)
        self._opening = orjson.dumps({"model_name": model.name, "model_version": model.version})[:-1]
        self._labels = model.labels
        self._shapes: dict[Shape, bytes] = {}
        self._beginnings: dict[Shape, bytes] = {}
        self._layouts: dict[bytes, Layout] = {}

    def decode(self, body: Body, header_length: int | None) -> Inference:
        """The request in `body`; raises a RequestError that names what is wrong."""
        if header_length is None:
            return self._lifted(body, NOTHING)
        text, raw = _parted(body, header_length)
        if header_length <= SMALL and (layout := self._layouts.get(bytes(text))) is not None:
            return layout.inference([], raw)
        return self._lifted(text, raw)

    def tensors(self, body: Body, header_length: int | None) -> tuple[dict[str, Any], dict[str, Array]]:
        """A request's JSON part and its checked tensors, for who makes something else of them than an inference."""
        text, raw = (body, NOTHING) if header_length is None else _parted(body, header_length)
        rest, arrays = self._reader.lift(text)
        asked = document(rest, arrays)
        feeds = self._feeds(asked, arrays, raw)
        self._signature.check_together(feeds)
        return asked, feeds

    def named(self, outputs: Any, *, binary: bool) -> tuple[tuple[str, ...], bool]:
        """The names of the outputs in such a request, none: all; and whether all of them are wanted as binary data."""
        wanted = self._wanted(outputs, binary)
        if any(want.classes for want in wanted):
            raise BadRequest("outputs: classification is of inference only")
        return (tuple(want.port.name for want in wanted) if outputs else ()), all(want.binary for want in wanted)

    def _lifted(self, text: Body, raw: memoryview) -> Inference:
        rest, arrays = self._reader.lift(text)
        if len(rest) > SMALL:
            return self._inference(document(rest, arrays), arrays, raw)
        said = bytes(rest)
        layout = self._layouts.get(said)
        if layout is not None:
            return layout.inference(arrays, raw)
        asked = document(said, arrays)
        inference = self._inference(asked, arrays, raw)
        self._remember(said, asked, arrays, inference)
        return inference

    def _remember(self, said: bytes, asked: dict[str, Any], arrays: list[Lifted], inference: Inference) -> None:
        """A client says the same around its numbers each time, unless it names its requests."""
        if inference.id:
            return
        inputs = []
        for entry in asked["inputs"]:
            port, shape, count, size = self._declared(entry, ())
            data = entry.get("data")
            if size is None and lifted(data, arrays) is None:
                return  # its values are in the text
            inputs.append((port, shape, count, size, 0 if size is not None else data[1]))
        if len(self._layouts) == REMEMBERED:
            self._layouts.clear()
        self._layouts[said] = Layout(inputs, inference.wanted, inference.null_for_nonfinite, inference.timeout)

    def _inference(self, asked: dict[str, Any], arrays: list[Lifted], raw: memoryview) -> Inference:
        feeds = self._feeds(asked, arrays, raw)
        self._signature.check_together(feeds)
        name, given = parameters.request_id(asked.get("id", "")), asked.get("parameters")
        if self._all_over_json and not given and "outputs" not in asked:
            return Inference(name, feeds, self._all_json, False, 0.0)
        wanted, given = asked.get("outputs"), parameters.plain_values(given, "parameters")
        return self._with_parameters(name, feeds, wanted, given)

    def _with_parameters(self, name: str, feeds: dict[str, Array], outputs: Any, given: dict[str, Any]) -> Inference:
        binary = given.get("binary_data_output", False) is True
        wanted = self._wanted(outputs, binary)
        for want in wanted:
            if not want.binary and not want.carrier.over_json:
                raise BadRequest(f"output {want.port.name!r} is {want.carrier.name}: ask for it as binary data")
        nulls, seconds = parameters.null_for_nonfinite(given), parameters.timeout(given.get("timeout", 0))
        return Inference(name, feeds, wanted, nulls, seconds)

    def _wanted(self, outputs: Any, binary: bool) -> Sequence[WantedOverHttp]:
        if outputs is None or outputs == []:
            return self._all_binary if binary else self._all_json
        if type(outputs) is not list or len(outputs) > MOST_TENSORS:
            raise BadRequest("outputs must be a list of objects")
        return [self._wanted_one(output, binary) for output in outputs]

    def _wanted_one(self, output: Any, binary: bool) -> WantedOverHttp:
        name = _text(output, "name") if type(output) is dict else ""
        port = self._signature.output(name)
        given = parameters.plain_values(output.get("parameters"), f"output {name!r}: parameters")
        parameters.refuse_shared_memory(f"output {name!r}", given)
        index = self._by_name[name]
        as_bytes = given.get("binary_data", binary) is True
        classes = given.get("classification")
        count = 0 if classes is None else classification.asked(port.spec, classes)
        return WantedOverHttp(index, port, count, binary=as_bytes)

    def _feeds(self, asked: dict[str, Any], arrays: list[Lifted], raw: memoryview) -> dict[str, Array]:
        entries = asked.get("inputs")
        if type(entries) is not list:
            raise BadRequest("inputs must be a list of tensors, at least one")
        self._signature.require_number(len(entries))
        feeds: dict[str, Array] = {}
        at = 0
        for entry in entries:
            port, shape, count, size = self._declared(entry, feeds)
            try:
                if size is None:
                    feeds[port.name] = _from_json(port, entry.get("data"), arrays, shape, count)
                else:
                    feeds[port.name] = _from_bytes(port, raw[at : at + size], size, count).reshape(shape)
                    at += size
            except ValueError as error:
                raise BadRequest(f"input {port.name!r}: {error}") from None
        _require_end(raw, at)
        return feeds

    def _declared(self, entry: Any, feeds: Container[str]) -> tuple[Port, Shape, int, int | None]:
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
        if inference.wanted is self._all_json and len(outputs) == 1 and not inference.id:  # what nearly all ask for
            (want,) = self._all_json
            text = _json_data(want, outputs[0], inference.null_for_nonfinite)
            return b"%b%b}]}" % (self._before_the_only_one(outputs[0].shape), text), None
        parts = [self._opening]
        if inference.id:
            parts += (b',"id":', orjson.dumps(inference.id))
        opening, binaries = b',"outputs":[', []
        for want in inference.wanted:
            array = want.of(outputs, self._labels)
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

    def encode_arrays(
        self, own: str, arrays: Mapping[str, Array], *, binary: bool, null_for_nonfinite: bool
    ) -> tuple[bytes, int | None]:
        """The same of tensors that are no outputs of the model; `own` is the request's id."""
        ports = [Port(TensorSpec(name, ELEMENT_OF[array.dtype.char], ()), 0) for name, array in arrays.items()]
        wanted = [WantedOverHttp(index, port, binary=binary) for index, port in enumerate(ports)]
        return self.encode(Inference(own, {}, wanted, null_for_nonfinite, 0.0), list(arrays.values()))

    def _before_the_only_one(self, shape: Shape) -> bytes:
        found = self._beginnings.get(shape)
        if found is None:
            found = b'%b,"outputs":[%b%b,"data":' % (self._opening, self._all_json[0].label, self._shape(shape))
            if len(self._beginnings) < MOST_TENSORS:
                self._beginnings[shape] = found
        return found

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


def _parted(body: Body, header_length: int) -> tuple[memoryview, memoryview]:
    """The JSON part and the tensors behind it; raises BadRequest."""
    if header_length > len(body):
        raise BadRequest("inference-header-content-length is larger than the body")
    whole = memoryview(body)
    return whole[:header_length], whole[header_length:]


def _json_data(want: WantedOverHttp, array: Array, null_for_nonfinite: bool) -> bytes:
    text = want.carrier.to_json(array)
    # Only a number that is not finite is written with an "n".
    if array.dtype.kind == "f" and not null_for_nonfinite and b"n" in text:
        raise RunFailed(
            f"NonFiniteOutput: output {want.port.name!r} holds NaN or infinity, which JSON cannot carry: "
            'ask for binary data, or set parameters.nonfinite to "null"'
        )
    return text


def _require_end(raw: memoryview, at: int) -> None:
    if at != len(raw):
        raise BadRequest(f"the body has {len(raw) - at} bytes that belong to no input")


def _from_json(port: Port, data: Any, arrays: list[Lifted], shape: Shape, count: int) -> Array:
    array = lifted(data, arrays)
    if array is None:
        return tensor(port.carrier, data, shape, count)
    return tensor_of_numbers(port.carrier, array, shape, count)


def _from_bytes(port: Port, raw: memoryview, size: int, count: int) -> Array:
    if len(raw) != size:
        raise ValueError(f"binary_data_size is {size} but only {len(raw)} bytes are left in the body")
    return port.carrier.from_bytes(port.carrier, raw, count)


def _binary_size(name: Any, given: Any, entry: dict[str, Any]) -> int | None:
    known = parameters.plain_values(given, f"input {name!r}: parameters")
    parameters.refuse_shared_memory(f"input {name!r}", known)
    size = known.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise BadRequest(f"input {name!r}: binary_data_size must be a whole number of bytes")
    if "data" in entry:
        raise BadRequest(f"input {name!r}: has both data and binary_data_size")
    return size


def _text(document: dict[str, Any], key: str) -> str:
    """The text under `key`; empty, which no name and no type is, when there is none."""
    given = document.get(key)
    return given if type(given) is str else ""
