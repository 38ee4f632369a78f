"""Components between named tensors: they answer as they did inside the whole model, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.unit.author.derive.conftest import answers, bundle_of, layers, model_of, weight

from tidegate.author.derive.cutting import cut
from tidegate.author.derive.extracting import Extract
from tidegate.author.packing import Packed
from tidegate.errors import Invalid

ROWS = weight(5, 4, seed=7)


def test_a_feature_extractor_gives_what_its_parent_computes_inside(derived: Any, backbone: Packed) -> None:
    result = derived(Extract(outputs=("hidden",)))

    (found,) = answers(result.bundle.path, x=ROWS)
    assert found == pytest.approx(np.maximum(ROWS @ weight(4, 6), 0), abs=1e-5)
    assert [tensor.shape for tensor in result.bundle.manifest.interface.outputs] == [("batch", 6)]


def test_its_lineage_names_the_parent_and_what_was_done(derived: Any, backbone: Packed) -> None:
    manifest = derived(Extract(outputs=("hidden",))).bundle.manifest

    assert manifest.lineage is not None
    assert (manifest.lineage.parents, manifest.lineage.action) == ((backbone.bundle.digest,), "extracted")
    assert manifest.name == "backbone"
    assert manifest.parity["extracted"]["mismatchedRows"] == 0
    assert manifest.parity["extracted"]["rows"] > 60


def test_the_part_behind_a_tensor_takes_that_tensor(derived: Any) -> None:
    result = derived(Extract(outputs=("y",), inputs=("hidden",)))

    (found,) = answers(result.bundle.path, hidden=np.ones((2, 6), np.float32))
    assert found == pytest.approx(np.ones((2, 6)) @ weight(6, 3, seed=1), abs=1e-5)


def test_only_the_weights_that_are_used_come_along(derived: Any) -> None:
    result = derived(Extract(outputs=("hidden",)))

    model = onnx.load(result.bundle.path / "model.onnx")
    assert [tensor.name for tensor in model.graph.initializer] == ["first"]


def test_a_model_without_batches_is_cut_as_well(derived: Any, tmp_path: Path) -> None:
    model = layers()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    alone = bundle_of(model, tmp_path / "alone").bundle.path

    result = derived(Extract(outputs=("hidden",)), of=alone)

    assert [tensor.shape for tensor in result.bundle.manifest.interface.outputs] == [(1, 6)]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (Extract(outputs=("hiden",)), "there is no tensor 'hiden' in it; near are hidden"),
        (Extract(outputs=("y",), inputs=("hidden", "summed")), "'summed' does not lead to any of the outputs"),
        (Extract(outputs=("hidden",), inputs=("y",)), "the outputs also need the input 'x'"),
        (Extract(outputs=("hidden",), inputs=("hidden",)), "nothing lies between"),
    ],
)
def test_what_cannot_be_cut_is_refused_by_name(derived: Any, tmp_path: Path, act: Extract, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        derived(act)

    assert list(tmp_path.iterdir()) == []


def test_what_the_body_of_an_if_takes_from_around_it_comes_along() -> None:
    """onnx.utils.Extractor leaves it behind."""
    body = helper.make_graph(
        [helper.make_node("Mul", ["scaled", "factor"], ["chosen"])],
        "then",
        [],
        [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["kept"])],
        "else",
        [],
        [helper.make_tensor_value_info("kept", TensorProto.FLOAT, None)],
    )
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    model = model_of(
        [
            helper.make_node("Add", ["x", "bias"], ["scaled"]),
            helper.make_node("If", ["flag"], ["y"], then_branch=body, else_branch=other),
            helper.make_node("Neg", ["y"], ["z"]),
        ],
        [("x", ["batch", 2]), flag],
        [("z", ["batch", 2])],
        {"bias": weight(2), "factor": weight(2), "unused": weight(2)},
    )
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])

    part = cut(model, list(model.graph.input), [y], where="model")

    assert [node.op_type for node in part.graph.node] == ["Add", "If"]
    assert {tensor.name for tensor in part.graph.initializer} == {"bias", "factor"}
