"""From bundle to bundle: lineage, proofs, refusals, and nothing left behind when it ends badly."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from sklearn.linear_model import LinearRegression

import tidegate
from tidegate.author import DataSet, PackRequest, pack
from tidegate.author.optimize import optimize, quantize, simplify
from tidegate.author.optimize.optimizing import AccuracyLost
from tidegate.bundle.errors import ModelInvalid
from tidegate.bundle.manifest import read_bundle_dir
from tidegate.bundle.verify import verify_dir
from tidegate.errors import Failed, UsageError


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_quantized_bundle_verifies_and_knows_its_parent(bundle: Path, ask: Any) -> None:
    packed, comparison = optimize(str(bundle), ask(precision="int8-static"))

    manifest = verify_dir(packed.bundle.path).manifest
    parent = read_bundle_dir(bundle)
    assert manifest.lineage is not None
    assert manifest.lineage.parents == (parent.digest,)
    assert manifest.lineage.action == "quantized"
    assert manifest.name == "digits"
    assert manifest.license == "MIT"
    assert manifest.entry("labels.txt") == parent.manifest.entry("labels.txt")
    assert manifest.interface == parent.manifest.interface
    assert manifest.preprocessing == parent.manifest.preprocessing == {"scale": "1/16"}
    assert comparison.variants[1].bytes < 0.6 * comparison.variants[0].bytes


def test_the_report_in_the_bundle_has_accuracy_and_size_of_each_step_and_no_latency(bundle: Path, ask: Any) -> None:
    packed, comparison = optimize(str(bundle), ask(prune=0.25, precision="fp16"))

    report = packed.bundle.manifest.parity["optimized"]
    assert [row["name"] for row in report["steps"]] == ["parent", "pruned 25%", "fp16"]
    assert report["steps"][1]["channels"]
    assert report["rows"] == comparison.rows == 897
    assert report["against"] == read_bundle_dir(bundle).digest
    assert packed.bundle.manifest.lineage.action == "pruned, fp16"  # type: ignore[union-attr]
    assert "latenc" not in str(report)


def test_the_same_request_gives_the_same_bytes(bundle: Path, ask: Any, tmp_path: Path) -> None:
    digests = {
        optimize(str(bundle), ask(out=tmp_path / name, precision="int8-dynamic"))[0].bundle.digest for name in "ab"
    }

    assert len(digests) == 1


def test_graph_optimization_changes_no_answer(bundle: Path, ask: Any) -> None:
    _, comparison = optimize(str(bundle), ask(graph=True))

    assert comparison.variants[1].drop.value == 0


def test_operator_sets_that_nothing_is_of_are_not_asked_for(bundle: Path, ask: Any) -> None:
    packed, _ = optimize(str(bundle), ask(precision="int8-static"))

    assert packed.bundle.manifest.model.opset.keys() <= read_bundle_dir(bundle).manifest.model.opset.keys()


def test_latencies_are_of_both_beside_each_other(bundle: Path, ask: Any) -> None:
    _, comparison = optimize(str(bundle), ask(graph=True))

    for variant in comparison.variants:
        assert [latency.rows for latency in variant.latencies] == [1, 64]
        assert all(latency.low <= latency.us <= latency.high for latency in variant.latencies)
    assert all(latency.speedup == 1 for latency in comparison.variants[0].latencies)


def test_a_variant_that_lost_too_much_is_no_bundle_but_its_figures_are_told(bundle: Path, ask: Any) -> None:
    with pytest.raises(AccuracyLost, match="accuracy fell from") as refused:
        optimize(str(bundle), ask(prune=0.9, max_drop=0.001))

    assert refused.value.comparison.variants[1].drop.value > 0.001
    assert _left(ask().out.parent) == []


def test_a_regressor_is_judged_by_the_variance_that_it_explains(ask: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((300, 8)).astype(np.float32)
    numbers = rows @ random.standard_normal(8)
    pack(LinearRegression().fit(rows, numbers), PackRequest(tmp_path / "linear", "linear", "1"))
    student = tmp_path / "student.py"
    student.write_text("from sklearn.linear_model import Ridge\ndef student():\n    return Ridge(alpha=10.0)\n")
    data = DataSet("rows", {"X": rows}, numbers)

    _, comparison = optimize(str(tmp_path / "linear"), ask(data=data, calibration=None, student=f"{student}:student"))

    assert comparison.metric == "r2"
    assert 0 < comparison.variants[1].drop.value < 0.001
    assert comparison.variants[1].drop.low <= comparison.variants[1].drop.value <= comparison.variants[1].drop.high


def test_a_student_of_a_single_probability_is_judged_by_its_classes(build: Any, ask: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weight = random.standard_normal((8, 1)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "A"], ["z"]), helper.make_node("Sigmoid", ["z"], ["y"])]
    pack(build(nodes, (8,), {"A": weight}), PackRequest(tmp_path / "sigmoid", "sigmoid", "1"))
    rows = random.standard_normal((300, 8)).astype(np.float32)
    student = tmp_path / "student.py"
    student.write_text(
        "from sklearn.linear_model import LinearRegression\n"
        "def contrary(rows, scores):\n    return LinearRegression().fit(rows, -scores)\n"
    )
    data = DataSet("rows", {"x": rows}, (rows @ weight > 0).astype(int)[:, 0])

    with pytest.raises(AccuracyLost, match=r"accuracy fell from 1\.0000 to 0\.0"):
        optimize(str(tmp_path / "sigmoid"), ask(data=data, calibration=None, student=f"{student}:contrary"))


def test_a_notebook_shows_the_table_and_the_plot(bundle: Path, digits: tuple[DataSet, DataSet], tmp_path: Path) -> None:
    train, test = digits

    made = tidegate.optimize(
        bundle, out=tmp_path / "half", version="2", data=test, calibration=train.columns["X"], fp16=True, seconds=0.0
    )

    assert "of the size, accuracy 0." in repr(made)
    assert made._repr_html_().count("<svg") == 1
    assert made.bundle.manifest.lineage.action == "fp16"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": None}, "there are no rows to judge it by"),
        ({"fp16": True, "int8": "static"}, "a model has 16 bits or 8"),
        ({"int8": "statik"}, "int8: there is no 'statik': say one of dynamic, static, mixed"),
    ],
)
def test_a_notebook_is_told_the_same(
    bundle: Path, digits: tuple[DataSet, DataSet], tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        tidegate.optimize(bundle, **{"out": tmp_path / "small", "version": "2", "data": digits[1], **options})

    with pytest.raises(TypeError, match="unexpected keyword argument 'int4'"):
        tidegate.optimize(bundle, out=tmp_path / "small", version="2", data=digits[1], int4=True)  # type: ignore[call-arg]


def test_the_column_of_labels_is_not_learnt_from_in_a_notebook_either(
    bundle: Path, digits: tuple[DataSet, DataSet], tmp_path: Path
) -> None:
    learnt, judges = ({"X": each.columns["X"], "y": each.labels} for each in digits)

    made = tidegate.optimize(
        bundle, out=tmp_path / "s", version="2", data=judges, labels="y", calibration=learnt, int8="static", seconds=0.0
    )

    assert made.comparison.variants[1].name == "int8 static"


def test_nothing_to_be_done_is_wrong_usage(bundle: Path, ask: Any) -> None:
    with pytest.raises(UsageError, match="nothing is to be done"):
        optimize(str(bundle), ask())


def test_a_folder_that_is_there_is_not_touched(bundle: Path, ask: Any) -> None:
    with pytest.raises(Failed, match="it exists already"):
        optimize(str(bundle), ask(out=bundle, graph=True))


def test_a_quantized_parent_is_not_quantized_again(bundle: Path, ask: Any, tmp_path: Path) -> None:
    optimize(str(bundle), ask(out=tmp_path / "once", precision="int8-dynamic"))

    for again in ({"precision": "int8-static"}, {"precision": "fp16"}, {"prune": 0.5}):
        with pytest.raises(Failed, match="it is quantized already"):
            optimize(str(tmp_path / "once"), ask(**again))
    assert _left(tmp_path) == ["once"]


def test_rows_can_be_set_aside_of_the_same_file(bundle: Path, ask: Any) -> None:
    _, comparison = optimize(str(bundle), ask(calibration=None, precision="int8-static"))

    assert comparison.rows == 718
    assert "179 of the 897 rows were set aside" in comparison.notes[0]


@pytest.mark.parametrize(
    "error", [MemoryError(), ModelInvalid("it does not run: std::bad_alloc")], ids=["numpy", "ONNX Runtime"]
)
def test_out_of_memory_is_one_sentence_and_leaves_nothing(
    bundle: Path, ask: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(quantize, "static", _raising(error))

    with pytest.raises(Failed, match="not enough memory") as failed:
        optimize(str(bundle), ask(precision="int8-static"))

    assert failed.value.reason == "OutOfMemory"
    assert _left(ask().out.parent) == []


@pytest.mark.parametrize("at", ["a step", "packing"])
def test_ctrl_c_leaves_no_half_bundle(bundle: Path, ask: Any, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    from tidegate.author import packing

    target = (simplify, "simplified") if at == "a step" else (packing, "write_manifest")
    monkeypatch.setattr(*target, _raising(KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        optimize(str(bundle), ask(graph=True))

    assert _left(ask().out.parent) == []


def _raising(error: BaseException) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def test_a_model_larger_than_memory_can_change_is_refused(
    bundle: Path, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.author.optimize.parent.MOST", 1000)

    with pytest.raises(Failed, match="more than the 1,000 that can be changed in memory"):
        optimize(str(bundle), ask(graph=True))


def test_a_missing_package_names_the_extra(bundle: Path, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sympy", None)

    with pytest.raises(Failed, match=r"tidegate\[optimize\]"):
        optimize(str(bundle), ask(graph=True))


def test_a_step_that_changes_the_interface_is_refused(bundle: Path, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def renamed(model: onnx.ModelProto) -> onnx.ModelProto:
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        changed.graph.output[0].name = "other"
        return changed

    monkeypatch.setattr(simplify, "simplified", renamed)

    with pytest.raises(Exception, match="output 'label' is gone"):
        optimize(str(bundle), ask(graph=True))


def test_labels_may_be_the_texts_of_the_numbers_that_the_model_names(
    bundle: Path, ask: Any, digits: tuple[DataSet, DataSet]
) -> None:
    texts = np.array([f"{label}" for label in digits[1].labels], dtype=object)

    _, comparison = optimize(str(bundle), ask(data=dataclasses.replace(digits[1], labels=texts), graph=True))

    assert comparison.variants[0].quality.value > 0.8
