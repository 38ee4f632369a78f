"""A small head trained on features of a published bundle: minutes of a laptop where training anew takes days.

The backbone stays frozen byte for byte, so stores and caches that have it get the head alone.  Rows that measure the
result are never trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tidegate.author.columns import as_rows
from tidegate.author.derive.acts import Derived, Given
from tidegate.author.derive.agreement import require_agreement
from tidegate.author.derive.base import write_graph
from tidegate.author.derive.composing import HEAD, NEW_HEAD, joined_at, one_after_the_other, only_output
from tidegate.author.derive.cutting import cut
from tidegate.author.derive.joining import join
from tidegate.author.derive.tensors import SIZES, Seen, look_at, require_tensors, value_info
from tidegate.author.derive.training import fitted, held_out, labels_of
from tidegate.author.describe import interface_of
from tidegate.author.frameworks import Found, convert
from tidegate.author.metrics import predictions
from tidegate.author.request import DataSet, PackRequest
from tidegate.author.session import Array, Tensors, open_runner, take
from tidegate.bundle.element_types import FLOATS
from tidegate.bundle.manifest import TensorSpec
from tidegate.errors import Invalid, UsageError

MATRIX = 2  # dimensions: rows and features
ROWS, ROWS_OPSET, ROWS_IR = "rows", 13, 7  # the oldest that has both operators as they are used; joining raises it


@dataclass(frozen=True, slots=True)
class TrainHead:
    """A head of this kind on `features`, a tensor of the base; "" is its only output."""

    kind: str
    features: str = ""
    test: DataSet | None = None  # to be measured on; without it, a part of the data is held out

    def apply(self, given: Given) -> Derived:
        """The base up to the features with the new head behind, compared with scikit-learn's own answers."""
        base, labels = given.base, labels_of(given.data)
        data = given.rows()
        assert data is not None  # it has labels
        tensor = self.features or only_output(base)
        require_tensors(base.model, [tensor], base.ref)
        seen = look_at(base.model, base.scratch, [tensor], given.pool())
        training, measured = self._rows(given, data, labels)
        features = _features(given, seen, tensor, take(data.columns, training))
        estimator = fitted(self.kind, features, labels[training], given.seed)
        head, against = _as_graph(estimator, features, base.scratch)
        behind = _behind(head, seen.specs[tensor], features.shape[1])
        model = joined_at(base, seen, tensor, behind)
        asked = one_after_the_other(base, seen, tensor, behind)
        report = require_agreement(model, base.scratch, asked, "the backbone and the head run one after the other")
        facts = {"head": self.kind, "features": tensor, "trainedOn": len(training), "measuredOn": measured.name}
        note = f"trained on {len(training)} rows of '{tensor}', measured on {len(measured.labels)} of {measured.name}"
        reports = {"head": against, NEW_HEAD: {**report, **facts}}
        return Derived(model, NEW_HEAD, (base.digest,), reports, (note,), measured)

    def _rows(self, given: Given, data: DataSet, labels: Array) -> tuple[Array, DataSet]:
        """Which rows to train on, and the rows to measure on."""
        if self.test is not None:
            columns, right = as_rows(self.test, given.base.interface), _as_trained(self.test, data)
            return np.arange(len(labels)), replace(self.test, columns=columns, labels=right, classes=())
        training, rest = held_out(self.kind, labels, given.seed)
        return training, _part(data, rest, f"{data.name}, held out")


def _as_trained(test: DataSet, data: DataSet) -> Array:
    """What is right for the rows of `test`, in the numbers that the classes have in `data`."""
    if test.labels is None:
        raise UsageError(
            "what is right for each of its rows is not said",
            where=f"--test {test.name}",
            do="name the column: --labels",
        )
    if test.digest and test.digest == data.digest:
        raise UsageError(
            "these are the rows that are trained on, which say nothing of others",
            where=f"--test {test.name}",
            do="give other rows, or leave it away: a fifth of --data is held out then",
        )
    labels = np.asarray(test.labels)
    if bool(test.classes) != bool(data.classes):
        raise UsageError(
            f"one of {data.name} and {test.name} is a folder of images by class, the other has labels of its own",
            where="--test",
            do="give both as folders of images, or both as tables",
        )
    if not test.classes:
        return labels
    numbers = {name: number for number, name in enumerate(data.classes)}
    seen = [test.classes[number] for number in labels]
    if strange := sorted(set(seen) - set(numbers)):
        raise Invalid(
            f"the class '{strange[0]}' is none of those to train on: {', '.join(data.classes)[:200]}",
            where=f"--test {test.name}",
            do="call the folders as those of --data",
        )
    return np.array([numbers[name] for name in seen])


def _part(data: DataSet, rows: Array, name: str) -> DataSet:
    """These rows, also of what may be published of them; the head answers the numbers of named classes."""
    published = take(data.published, rows) if data.published is not None else None
    labels = np.asarray(data.labels)[rows]
    return replace(data, name=name, columns=take(data.columns, rows), labels=labels, published=published, classes=())


def _features(given: Given, seen: Seen, tensor: str, rows: Tensors) -> Array:
    """One flat row of numbers per row of the data."""
    spec, base = seen.specs[tensor], given.base
    if spec.element_type not in FLOATS - {"BF16"}:
        raise Invalid(f"'{tensor}' is {spec.element_type}: features are numbers with a fraction", where=base.ref)
    inputs = [value.name for value in base.interface.inputs]
    front = cut(base.model, seen.declared(inputs), seen.declared([tensor]), where=base.ref)
    runner = open_runner(write_graph(front, base.scratch), interface_of(front))
    kept = {value.name: rows[value.name] for value in runner.interface.inputs}
    found = predictions(runner, kept)[tensor]
    return np.ascontiguousarray(found.reshape(len(found), -1).astype(np.float32))


def _as_graph(estimator: Any, features: Array, scratch: Path) -> tuple[onnx.ModelProto, Mapping[str, Any]]:
    """The head as ONNX, and how it compares with scikit-learn."""
    example = DataSet("features", {"X": features})
    converted = convert(Found("estimator", value=estimator), PackRequest(Path(), "head", "0", data=example))
    (taken,) = interface_of(converted.model).inputs
    requests = [{taken.name: features[:size]} for size in (*SIZES, len(features))]
    assert converted.original is not None
    asked = [(request, converted.original.answers(request)) for request in requests]
    return converted.model, require_agreement(converted.model, scratch, asked, converted.original.framework)


def _behind(head: onnx.ModelProto, spec: TensorSpec, width: int) -> onnx.ModelProto:
    """The head as it takes the tensor: each row laid out flat, in 32 bits."""
    (taken,) = interface_of(head).inputs
    if spec.element_type == taken.element_type and len(spec.shape) == MATRIX:
        return head
    helper = onnx.helper
    batch = spec.shape[0] if spec.shape and isinstance(spec.shape[0], str) else taken.shape[0]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", [spec.name], ["cast"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Reshape", ["cast", "shape"], [ROWS]),
        ],
        ROWS,
        [value_info(spec)],
        [value_info(TensorSpec(ROWS, taken.element_type, (batch, width)))],
        [helper.make_tensor("shape", onnx.TensorProto.INT64, [MATRIX], [-1, width])],
    )
    rows = helper.make_model(graph, opset_imports=[helper.make_opsetid("", ROWS_OPSET)], ir_version=ROWS_IR)
    return join(rows, head, {taken.name: ROWS}, prefix=HEAD)
