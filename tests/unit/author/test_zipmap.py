"""Outputs of ZipMap, a list of dictionaries, as the tensors that they were made of: the same numbers, classes kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tests.unit.author.zipped import (
    LABELS,
    ROWS,
    WORDS,
    classifier,
    dictionaries,
    graph_of,
    operators,
    run,
    tensor,
    zipmap,
)

from tidegate.author.frameworks.zipmap import flatten
from tidegate.author.parity import ParityLost


@pytest.mark.parametrize("labels", [LABELS, WORDS], ids=["whole numbers", "texts"])
def test_the_tensor_holds_by_column_what_the_dictionaries_hold_by_class(
    packed: Any, saved: Any, labels: dict[str, list[Any]]
) -> None:
    source = saved(classifier(**labels))

    bundle = packed(source).bundle

    before, after = run(source, ROWS), run(bundle.path / "model.onnx", ROWS)
    (classes,) = labels.values()
    expected = [[row[name] for name in classes] for row in before["chances"]]
    np.testing.assert_array_equal(after["chances"], np.array(expected, np.float32))
    np.testing.assert_array_equal(after["label"], before["label"])


def test_the_output_keeps_its_name_and_has_a_column_per_class(packed: Any, saved: Any) -> None:
    _, output = packed(saved(classifier())).bundle.manifest.interface.outputs

    assert (output.name, output.element_type, output.shape) == ("chances", "FP32", ("N", 3))


def test_rows_of_a_fixed_number_stay_fixed() -> None:
    model = classifier()
    for value in (*model.graph.input, model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 2

    flatten(model)

    assert [dim.dim_value for dim in model.graph.output[1].type.tensor_type.shape.dim] == [2, 3]


def test_identities_behind_the_zipmap_go_with_it() -> None:
    same = [helper.make_node("Identity", [a], [b]) for a, b in (("z", "y"), ("y", "chances"))]
    model = classifier(zipmap(made="z"), *same)

    (found,) = flatten(model)

    assert (found.output, found.classes) == ("chances", (4, 7, 1))
    assert operators(model) == ["LinearClassifier", "Normalizer", "Identity"]
    onnx.checker.check_model(model, full_check=True)


def test_a_zipmap_of_two_outputs_becomes_two_tensors() -> None:
    model = classifier(
        zipmap(made="chances"),
        helper.make_node("Identity", ["chances"], ["again"]),
        outputs=[dictionaries("again"), dictionaries("chances")],
    )

    assert [found.output for found in flatten(model)] == ["again", "chances"]
    assert "ZipMap" not in operators(model)
    onnx.checker.check_model(model, full_check=True)


def test_scores_that_are_an_output_already_stay_one_beside_the_new_one(packed: Any, saved: Any) -> None:
    model = classifier(zipmap(), outputs=[tensor("scores"), dictionaries()])

    bundle = packed(saved(model)).bundle

    assert [output.name for output in bundle.manifest.interface.outputs] == ["label", "scores", "chances"]
    answer = run(bundle.path / "model.onnx", ROWS)
    np.testing.assert_array_equal(answer["scores"], answer["chances"])


def test_a_zipmap_right_on_the_input_is_flattened_too() -> None:
    model = graph_of([zipmap("x", classlabels_int64s=[0, 1, 2, 3])], [dictionaries()])

    flatten(model)

    assert operators(model) == ["Identity"]


def test_a_graph_of_machine_learning_operators_alone_as_of_catboost_gets_the_identity_s_opset(
    packed: Any, saved: Any
) -> None:
    model = classifier()
    del model.opset_import[0]

    bundle = packed(saved(model)).bundle

    assert bundle.manifest.model.opset == {"": 7, "ai.onnx.ml": 3}
    assert bundle.manifest.parity["original"]["mismatchedRows"] == 0


def test_a_zipmap_whose_list_is_no_output_changes_nothing(packed: Any) -> None:
    model = graph_of([zipmap("x", classlabels_int64s=[0, 1, 2, 3]), helper.make_node("Relu", ["x"], ["y"])], [])
    model.graph.output.append(tensor("y", shape=["N", 4]))

    assert "original" not in packed(model).bundle.manifest.parity


def test_a_model_without_zipmap_is_left_alone_and_has_no_original(packed: Any, linear: Any) -> None:
    result = packed(linear())

    assert "original" not in result.bundle.manifest.parity
    assert result.bundle.manifest.entry("labels.txt") is None


@pytest.mark.parametrize(
    ("labels", "lines", "told"),
    [(LABELS, "4\n7\n1\n", "4, 7, 1"), (WORDS, "low\nmiddle\nhigh\n", '"low", "middle", "high"')],
)
def test_the_classes_in_the_order_of_their_columns_are_kept_and_told(
    packed: Any, saved: Any, labels: dict[str, list[Any]], lines: str, told: str
) -> None:
    result = packed(saved(classifier(**labels)))

    assert (result.bundle.path / "labels.txt").read_text() == lines
    assert result.bundle.manifest.entry("labels.txt") is not None
    note = f"the output 'chances' was a list of dictionaries (ZipMap) and is a tensor with a column per class: {told}"
    assert result.notes[0] == note
    graph = onnx.load(result.bundle.path / "model.onnx", load_external_data=False)
    (kept,) = graph.metadata_props
    assert (kept.key, json.loads(kept.value)) == ("tidegate.classes.chances", next(iter(labels.values())))


def test_labels_that_the_user_gives_win(packed: Any, saved: Any, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("left\nstraight\nright\n")

    bundle = packed(saved(classifier()), files=(tmp_path / "labels.txt",)).bundle

    assert (bundle.path / "labels.txt").read_text() == "left\nstraight\nright\n"


@pytest.mark.parametrize("name", ["two\nlines", "", "a\u2028b"])
def test_classes_that_are_no_lines_stand_in_the_graph_alone_and_that_is_said(
    packed: Any, saved: Any, name: str
) -> None:
    result = packed(saved(classifier(classlabels_strings=["a", name, "c"])))

    assert result.bundle.manifest.entry("labels.txt") is None
    assert "no labels.txt was written: a class is no line of text" in result.notes
    graph = onnx.load(result.bundle.path / "model.onnx", load_external_data=False)
    assert json.loads(graph.metadata_props[0].value) == ["a", name, "c"]


def test_outputs_of_different_classes_share_no_labels_txt(packed: Any, saved: Any) -> None:
    model = classifier(
        zipmap(), zipmap(made="other", classlabels_int64s=[1, 2, 3]), outputs=[dictionaries(), dictionaries("other")]
    )

    result = packed(saved(model))

    assert result.bundle.manifest.entry("labels.txt") is None
    assert "no labels.txt was written: the outputs have different classes" in result.notes


def test_a_thousand_classes_are_counted_in_one_line() -> None:
    wide = graph_of([zipmap("x", classlabels_int64s=list(range(1000)))], [dictionaries()])
    wide.graph.input[0].CopyFrom(tensor("x", shape=["N", 1000]))

    (found,) = flatten(wide)

    assert found.told.endswith("0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … 1000 in all")


def test_the_comparison_with_the_dictionaries_stands_in_the_manifest(packed: Any, saved: Any) -> None:
    original = packed(saved(classifier())).bundle.manifest.parity["original"]

    assert (original["against"], original["mismatchedRows"]) == ("ONNX", 0)
    assert [output["name"] for output in original["outputs"]] == ["label", "chances"]
    assert "'chances'" in original["cures"][0]


def test_columns_in_another_order_than_the_classes_do_not_pass_the_comparison(
    packed: Any, saved: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def turned(model: onnx.ModelProto) -> Any:
        found = flatten(model)
        (last,) = [node for node in model.graph.node if "chances" in node.output]
        last.CopyFrom(helper.make_node("Gather", [last.input[0], "turned"], ["chances"], axis=1))
        model.graph.initializer.append(numpy_helper.from_array(np.array([2, 0, 1]), "turned"))
        return found

    monkeypatch.setattr("tidegate.author.frameworks.onnx_model.flatten", turned)

    with pytest.raises(ParityLost, match="output 'chances': 64 of 64 rows differ from what the ONNX model itself"):
        packed(saved(classifier()))


def test_external_data_and_metadata_are_kept(packed: Any, saved: Any) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 20_000)).astype(np.float32)
    back = np.random.default_rng(1).standard_normal((20_000, 3)).astype(np.float32) / 1000
    model = graph_of(
        [
            helper.make_node("MatMul", ["x", "W"], ["h"]),
            helper.make_node("MatMul", ["h", "V"], ["s"]),
            helper.make_node("Softmax", ["s"], ["scores"]),
            zipmap(),
        ],
        [dictionaries()],
        [numpy_helper.from_array(weight, "W"), numpy_helper.from_array(back, "V")],
    )
    helper.set_model_props(model, {"trained": "yesterday"})
    model.doc_string, model.producer_name = "of risks", "trainer"
    source = saved(model, save_as_external_data=True, location="all.data", size_threshold=0)

    bundle = packed(source).bundle

    kept = onnx.load(bundle.path / "model.onnx", load_external_data=False)
    assert {entry.key: entry.value for entry in kept.metadata_props}["trained"] == "yesterday"
    assert (kept.doc_string, kept.producer_name) == ("of risks", "trainer")
    assert len([entry for entry in bundle.manifest.files if entry.path.startswith("weights/")]) == 2
    assert bundle.manifest.parity["original"]["mismatchedRows"] == 0


def test_a_model_in_memory_is_flattened_without_being_changed(packed: Any) -> None:
    model = classifier()
    before = model.SerializeToString(deterministic=True)

    bundle = packed(model).bundle

    assert bundle.manifest.interface.outputs[1].shape == ("N", 3)
    assert bundle.manifest.parity["original"]["mismatchedRows"] == 0
    assert model.SerializeToString(deterministic=True) == before


def test_packing_it_twice_gives_the_same_digest(packed: Any, saved: Any) -> None:
    source = saved(classifier())

    assert packed(source).bundle.digest == packed(source).bundle.digest
