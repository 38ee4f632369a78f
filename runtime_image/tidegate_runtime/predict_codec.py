"""Predict requests and answers of TensorFlow Serving's REST API: by row (`instances`) and by column (`inputs`).

Nothing in such a request says a shape or a type: the nesting of the lists is the shape, and the model says the type.
A text may come as `{"b64": …}`; an output whose name ends in `_bytes` goes out that way.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import orjson

from tidegate_runtime import parameters
from tidegate_runtime.errors import BadRequest, RunFailed
from tidegate_runtime.interfaces import Array, Body
from tidegate_runtime.json_reader import (
    JsonReader,
    Lifted,
    document,
    lifted,
    plain,
    shape_of,
    tensor,
    tensor_of_numbers,
)
from tidegate_runtime.signature import LONGEST_SHOWN, MOST_NAMES, Port, Signature
from tidegate_runtime.types import Carrier, strings_from_list

SIGNATURE: Final = "serving_default"
BASE64: Final = "b64"
IN_BASE64: Final = "_bytes"  # how the name of such an output ends


@dataclass(slots=True)
class Prediction:
    """A decoded request."""

    feeds: dict[str, Array]
    by_row: bool  # it is answered in the form it came in
    null_for_nonfinite: bool
    parameters: Any = None  # as they came


class PredictCodec:
    """Reads requests and writes answers for one model."""

    def __init__(self, signature: Signature, most_numbers: int) -> None:
        self._signature = signature
        self._reader = JsonReader(most_numbers)
        self._carriers = {port.name: _with_base64(port.carrier) for port in signature.inputs_in_order}
        required = [port.name for port in signature.inputs_in_order if not port.optional]
        self._alone = required[0] if len(required) == 1 else None  # what values without a name belong to
        self._outputs = tuple(signature.outputs.values())
        self._not_json = next((port for port in self._outputs if not port.carrier.over_json), None)
        self._without_rows = next((port for port in self._outputs if not port.shape), None)

    def decode(self, body: Body, *, for_outputs: bool = True) -> Prediction:
        """The request in `body`; raises a RequestError that names what is wrong.

        `for_outputs`: they are the answer, so JSON must be able to carry them.
        """
        rest, arrays = self._reader.lift(body)
        asked = document(rest, arrays)
        _check_signature(asked)
        if ("instances" in asked) == ("inputs" in asked):
            raise BadRequest('either "instances" (rows) or "inputs" (columns) is expected')
        by_row = "instances" in asked
        if for_outputs:
            self._check_outputs(by_row)
        tensors = self._rows(asked["instances"], arrays) if by_row else self._columns(asked["inputs"], arrays)
        feeds = self._feeds(tensors, arrays)
        self._signature.check_together(feeds)
        others = asked.get("parameters")  # what others put there is none of our business, as in TensorFlow Serving
        nulls = type(others) is dict and parameters.null_for_nonfinite(others)
        return Prediction(feeds, by_row, nulls, others)

    def encode(self, prediction: Prediction, outputs: Sequence[Array]) -> bytes:
        """The answer's body; raises a RequestError when JSON, or the row form, cannot carry what the model gave."""
        columns = {
            port.name: _column(port, array, prediction.null_for_nonfinite)
            for port, array in zip(self._outputs, outputs, strict=True)
        }
        if prediction.by_row:
            return b'{"predictions":%b}' % _json(_by_row(columns))
        return b'{"outputs":%b}' % _json(columns if len(columns) > 1 else next(iter(columns.values())))

    def encode_arrays(self, arrays: Mapping[str, Array], *, null_for_nonfinite: bool) -> bytes:
        """An explanation's body: tensors by name, nested as their shapes say."""
        columns = {name: _array(name, array, null_for_nonfinite) for name, array in arrays.items()}
        return b'{"explanations":%b}' % _json(columns)

    def _check_outputs(self, by_row: bool) -> None:
        if (port := self._not_json) is not None:
            raise BadRequest(f"output {port.name!r} is {port.carrier.name}: ask over /v2 for it as binary data")
        if by_row and (port := self._without_rows) is not None:
            raise BadRequest(f'output {port.name!r} is a scalar and has no rows: send "inputs" instead of "instances"')

    def _rows(self, rows: Any, arrays: list[Lifted]) -> dict[str, Any]:
        """The values of each input; rows are objects that name the inputs, or values of the only one."""
        if lifted(rows, arrays) is not None:
            return {self._only_input("each instance"): rows}
        if type(rows) is not list or not rows:
            raise BadRequest("instances must be a list, at least one")
        if type(rows[0]) is not dict or _is_base64(rows[0]):
            return {self._only_input("each instance"): rows}
        if len(rows) > self._signature.most_rows:
            raise BadRequest(f"instances are {len(rows)}, above the limit of {self._signature.most_rows}")
        first = rows[0]
        for name in first:
            self._signature.input(name)
        columns: dict[str, list[Any]] = {name: [] for name in first}
        for index, row in enumerate(rows):
            if type(row) is not dict or row.keys() != first.keys():
                names = _list(first)
                raise BadRequest(f"instance {index} must be an object of the same inputs as the first: {names}")
            for name, value in row.items():
                columns[name].append(plain(value, arrays))
        return columns

    def _columns(self, columns: Any, arrays: list[Lifted]) -> dict[str, Any]:
        if _names_inputs(columns) and lifted(columns, arrays) is None:
            named: dict[str, Any] = columns
            return named
        return {self._only_input("inputs"): columns}

    def _only_input(self, what: str) -> str:
        if self._alone is None:
            names = _list(self._signature.inputs)
            raise BadRequest(f"{what} must be an object that names the model's inputs: {names}")
        return self._alone

    def _feeds(self, tensors: dict[str, Any], arrays: list[Lifted]) -> dict[str, Array]:
        feeds: dict[str, Array] = {}
        for name, values in tensors.items():
            port = self._signature.input(name)
            try:
                feeds[name] = self._tensor(port, values, arrays)
            except ValueError as error:
                raise BadRequest(f"input {name!r}: {error}") from None
        return feeds

    def _tensor(self, port: Port, values: Any, arrays: list[Lifted]) -> Array:
        carrier, array = self._carriers[port.name], lifted(values, arrays)
        shape = shape_of(values) if array is None else array[2]
        count = port.count(shape)
        if array is not None:
            return tensor_of_numbers(carrier, array, shape, count)
        if not shape:
            return carrier.from_list(carrier, [values]).reshape(shape)
        return tensor(carrier, values, shape, count)


def _check_signature(document: dict[str, Any]) -> None:
    name = document.get("signature_name", SIGNATURE)
    if type(name) is not str:
        raise BadRequest("signature_name must be a text")
    if name not in (SIGNATURE, ""):
        raise BadRequest(f"signature {name[:LONGEST_SHOWN]!r} is not served here: this model has {SIGNATURE!r}")


# -- texts


def _with_base64(carrier: Carrier) -> Carrier:
    return replace(carrier, from_list=_texts_from_list) if carrier.name == "BYTES" else carrier


def _texts_from_list(carrier: Carrier, values: list[Any]) -> Array:
    """Texts, each as it is or as `{"b64": …}`."""
    plain = [_text(value, index) if type(value) is dict else value for index, value in enumerate(values)]
    return strings_from_list(carrier, plain)


def _text(value: dict[str, Any], index: int) -> str:
    if not _is_base64(value):
        raise ValueError(f'element {index} is an object, but not one like {{"b64": "…"}}')
    encoded = value[BASE64]
    try:
        raw = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)  # it need not be padded
    except ValueError:
        raise ValueError(f"element {index} is not base64") from None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ValueError(f"element {index} is not UTF-8") from None


def _is_base64(value: dict[str, Any]) -> bool:
    return value.keys() == {BASE64} and type(value[BASE64]) is str


def _names_inputs(value: Any) -> bool:
    return type(value) is dict and not _is_base64(value)


def _in_base64(array: Array) -> Array:
    shown = np.empty(array.size, object)
    shown[:] = [{BASE64: b64encode(text.encode()).decode()} for text in array.ravel().tolist()]
    return shown.reshape(array.shape)


# -- answers


def _column(port: Port, array: Array, null_for_nonfinite: bool) -> Any:
    """An output as orjson writes it, whole or a row of it."""
    if port.carrier.name == "BYTES":
        return (_in_base64(array) if port.name.endswith(IN_BASE64) else array).tolist()
    if array.dtype.kind != "f":
        # ONNX Runtime's INT64 is numpy's longlong, which orjson knows as an array but not as a single number.
        return array.tolist() if array.ndim <= 1 else np.ascontiguousarray(array)
    return _array(port.name, array, null_for_nonfinite)


def _array(name: str, array: Array, null_for_nonfinite: bool) -> Any:
    """Texts, or numbers with a fraction."""
    if array.dtype.kind != "f":
        return array.tolist()
    if not null_for_nonfinite and not np.isfinite(array).all():
        raise RunFailed(
            f"NonFiniteOutput: output {name!r} holds NaN or infinity, which JSON cannot carry: "
            'set parameters.nonfinite to "null", or ask over /v2 for binary data'
        )
    return np.ascontiguousarray(array) if array.ndim else array[()]


def _by_row(columns: dict[str, Any]) -> Any:
    """Values when there is one output, else an object for each row."""
    if len(columns) == 1:
        return next(iter(columns.values()))
    if len({len(column) for column in columns.values()}) > 1:
        sizes = ", ".join(f"{name!r}: {len(column)}" for name, column in columns.items())
        raise BadRequest(f'the outputs differ in their rows ({sizes}): send "inputs" instead of "instances"')
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _list(names: Iterable[str]) -> str:
    return ", ".join(repr(name[:LONGEST_SHOWN]) for name in list(names)[:MOST_NAMES])
