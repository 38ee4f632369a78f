"""Two models as one: it answers as the two do one after the other, whatever their names and operator sets."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from tests.unit.author.derive.conftest import answers, bundle_of, layers, model_of, weight

from tidegate.author.derive.agreement import require_agreement
from tidegate.author.derive.composing import NEW_HEAD, Compose, compose_of
from tidegate.author.packing import Packed
from tidegate.author.parity import ParityLost
from tidegate.errors import Invalid, UsageError

ROWS = weight(5, 4, seed=7)
OTHER = weight(6, 3, seed=5)


def head(opset: int = 21, width: int = 6) -> onnx.ModelProto:
    """features -> y, whose weight is called as one of the backbone's."""
    return model_of(
        [helper.make_node("MatMul", ["features", "first"], ["y"])],
        [("features", ["n", width])],
        [("y", ["n", 3])],
        {"first": OTHER if width == len(OTHER) else weight(width, 3)},
        opset,
    )


@pytest.mark.parametrize("opset", [13, 21, 22])
def test_a_head_behind_a_feature_extractor_answers_as_both_in_turn(derived: Any, tmp_path: Path, opset: int) -> None:
    other = bundle_of(head(opset), tmp_path / "head").bundle

    result = derived(Compose("hidden", str(other.path), action=NEW_HEAD))

    (found,) = answers(result.bundle.path, x=ROWS)
    assert found == pytest.approx(np.maximum(ROWS @ weight(4, 6), 0) @ OTHER, abs=1e-5)
    lineage = result.bundle.manifest.lineage
    assert (lineage.action, len(lineage.parents), lineage.parents[1]) == ("new-head", 2, other.digest)
    assert [tensor.shape for tensor in result.bundle.manifest.interface.outputs] == [("batch", 3)]


def test_layers_of_another_model_go_on_from_a_tensor_in_the_middle(derived: Any, backbone: Packed) -> None:
    other = f"{backbone.bundle.path}:hidden"

    result = derived(compose_of(str(backbone.bundle.path), "hidden", other))

    assert answers(result.bundle.path, x=ROWS)[0] == pytest.approx(answers(backbone.bundle.path, x=ROWS)[0], abs=1e-5)
    assert result.bundle.manifest.lineage.action == "composed"
    assert result.bundle.manifest.parity["composed"]["mismatchedRows"] == 0


def test_shapes_that_do_not_join_are_told_with_both_tensors(derived: Any, tmp_path: Path) -> None:
    other = bundle_of(head(width=5), tmp_path / "head").bundle.path

    with pytest.raises(Invalid, match=r"'hidden' is FP32 \[batch, 6\], but 'features' takes FP32 \[n, 5\]"):
        derived(Compose("hidden", str(other)))


def test_a_tensor_that_the_other_lacks_is_named_with_its_bundle(derived: Any, backbone: Packed) -> None:
    with pytest.raises(Invalid, match="there is no tensor 'hiden'") as caught:
        derived(Compose("hidden", str(backbone.bundle.path), "hiden"))

    assert caught.value.where == str(backbone.bundle.path)


def test_a_head_of_two_inputs_needs_to_be_told_which(derived: Any, tmp_path: Path) -> None:
    two = model_of(
        [helper.make_node("Add", ["a", "b"], ["y"])], [("a", ["n", 6]), ("b", ["n", 6])], [("y", ["n", 6])], {}
    )
    other = bundle_of(two, tmp_path / "two").bundle.path

    with pytest.raises(Invalid, match="a head takes one tensor, this takes 2"):
        derived(Compose("hidden", str(other)))


def test_an_output_called_like_an_input_is_refused(derived: Any, tmp_path: Path) -> None:
    model = head()
    model.graph.node[0].output[0] = model.graph.output[0].name = "x"
    other = bundle_of(model, tmp_path / "head").bundle.path

    with pytest.raises(Invalid, match="an input and an output would both be called 'x'"):
        derived(Compose("hidden", str(other)))


def test_another_answer_than_the_parts_give_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityLost, match="output 'y': 5 of 5 rows differ from the parts"):
        require_agreement(layers(), tmp_path, [({"x": ROWS}, {"y": np.ones((5, 3), np.float32)})], "the parts")


@pytest.mark.parametrize(("step", "differing", "refused"), [("Relu", 1, True), ("Round", 1, False), ("Round", 3, True)])
def test_few_rows_may_differ_where_a_step_lies_before_the_answer(
    tmp_path: Path, step: str, differing: int, refused: bool
) -> None:
    model = model_of([helper.make_node(step, ["x"], ["y"])], [("x", ["batch", 2])], [("y", ["batch", 2])], {})
    rows = np.abs(weight(200, 2))
    expected = np.round(rows) if step == "Round" else rows.copy()
    expected[:differing] += 1

    with pytest.raises(ParityLost) if refused else nullcontext():
        report = require_agreement(model, tmp_path, [({"x": rows}, {"y": expected})], "the parts")
        assert report["mismatchedRows"] == differing


def test_the_command_line_finds_the_bundle_before_the_tensor(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()

    assert compose_of("a", "a:hidden", f"{tmp_path}/b:dense/BiasAdd:0") == Compose(
        "hidden", f"{tmp_path}/b", "dense/BiasAdd:0"
    )
    pinned = "s3://models/a/1@sha256:" + "0" * 64
    assert compose_of("a", "hidden", f"{pinned}:y:0") == Compose("hidden", pinned, "y:0")
    served = "https://host:8443/models/a/1.0"
    assert compose_of("a", "hidden", f"{served}:y") == Compose("hidden", served, "y")


def test_a_bundle_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="names no bundle and tensor"):
        compose_of("a", "hidden", "nowhere:y")


def test_a_model_that_was_joined_can_be_joined_again_and_again(derived: Any, tmp_path: Path) -> None:
    first = bundle_of(head(), tmp_path / "head").bundle.path
    next_ = str(bundle_of(head(width=3), tmp_path / "next").bundle.path)

    once = derived(Compose("hidden", str(first)))
    twice = derived(Compose("y", next_), of=once.bundle.path)
    result = derived(Compose("y", next_), of=twice.bundle.path)

    expected = np.maximum(ROWS @ weight(4, 6), 0) @ OTHER @ weight(3, 3) @ weight(3, 3)
    assert answers(result.bundle.path, x=ROWS)[0] == pytest.approx(expected, abs=1e-4)


def test_outputs_without_a_row_per_row_are_compared_as_well(tmp_path: Path) -> None:
    model = layers()
    model.graph.node.append(helper.make_node("ReduceMax", ["y"], ["largest"], keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info("largest", onnx.TensorProto.FLOAT, []))
    right = np.maximum(ROWS @ weight(4, 6), 0) @ weight(6, 3, seed=1)
    expected = {"y": right, "largest": right.max()}

    report = require_agreement(model, tmp_path, [({"x": ROWS}, expected)], "the parts")

    assert (report["rows"], report["mismatchedRows"]) == (6, 0)
    with pytest.raises(ParityLost, match="output 'largest': 1 of 1 rows differ"):
        require_agreement(model, tmp_path, [({"x": ROWS}, {**expected, "largest": right.max() + 1})], "the parts")
