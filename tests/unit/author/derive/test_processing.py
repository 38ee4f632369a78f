"""Pre- and post-processing in the graph: from a script or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.preprocessing import StandardScaler
from tests.unit.author.derive.conftest import answers, model_of, weight

from tidegate.author import DataSet
from tidegate.author.derive.processing import Process
from tidegate.author.frameworks.fitted import FittedEstimator
from tidegate.author.packing import Packed
from tidegate.author.parity import ParityLost
from tidegate.author.pickles import PickleRefused
from tidegate.errors import Invalid

BYTES = np.random.default_rng(3).integers(0, 255, (5, 4), dtype=np.uint8)

SCRIPT = """
import numpy as np
from onnx import TensorProto, helper

def scaled():
    nodes = [
        helper.make_node("Cast", ["pixels"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["x", "most"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes, "scale",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 4])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor("most", TensorProto.FLOAT, [], [255.0])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

def judge():
    from sklearn.linear_model import LogisticRegression
    scores = np.random.default_rng(0).standard_normal((40, 3))
    return LogisticRegression().fit(scores, scores.argmax(axis=1))
"""


def best() -> onnx.ModelProto:
    """y -> the number of its largest column."""
    out = helper.make_tensor_value_info("best", TensorProto.INT64, ["batch"])
    return model_of(
        [helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0)],
        [("scores", ["batch", 3])],
        [out],
        {},
    )


@pytest.fixture
def script(tmp_path: Path) -> str:
    (tmp_path / "scale.py").write_text(SCRIPT)
    return f"{tmp_path}/scale.py:scaled"


def test_pixels_go_in_and_the_best_class_comes_out(derived: Any, backbone: Packed, script: str, tmp_path: Path) -> None:
    onnx.save(best(), tmp_path / "best.onnx")

    result = derived(Process(before=script, after=str(tmp_path / "best.onnx")))

    (expected,) = answers(backbone.bundle.path, x=BYTES.astype(np.float32) / np.float32(255))
    (found,) = answers(result.bundle.path, pixels=BYTES)
    assert found.tolist() == expected.argmax(axis=1).tolist()
    assert result.bundle.manifest.lineage.action == "composed"
    report = result.bundle.manifest.parity["processing"]
    assert (report["before"], report["mismatchedRows"]) == (script, 0)


def test_an_estimator_judges_the_scores(derived: Any, backbone: Packed, script: str) -> None:
    result = derived(Process(after=script.replace("scaled", "judge")))

    (scores,) = answers(backbone.bundle.path, x=weight(5, 4, seed=7))
    label, _ = answers(result.bundle.path, x=weight(5, 4, seed=7))
    assert (label == scores.argmax(axis=1)).mean() > 0.5


def test_an_estimator_that_is_converted_wrongly_is_refused(
    derived: Any, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def turned(self: FittedEstimator, inputs: Any) -> dict[str, Any]:
        return {name: array[::-1] for name, array in right(self, inputs).items()}

    right = FittedEstimator.answers
    monkeypatch.setattr(FittedEstimator, "answers", turned)

    with pytest.raises(ParityLost, match="rows differ from what scikit-learn answers"):
        derived(Process(after=script.replace("scaled", "judge")))


def test_names_that_clash_are_told_apart(derived: Any, script: str) -> None:
    """The script's `x` is inside, the model's is its input."""
    result = derived(Process(before=script))

    assert [tensor.name for tensor in result.bundle.manifest.interface.inputs] == ["pixels"]


def test_data_are_rows_of_the_new_inputs(derived: Any, script: str) -> None:
    data = DataSet("pixels", {"pixels": BYTES}, np.arange(5) % 3)

    result = derived(Process(before=script), data=data)

    assert "accuracy" in result.bundle.manifest.metric_values()


def test_sides_whose_names_say_nothing_are_refused(derived: Any, tmp_path: Path) -> None:
    two = model_of(
        [helper.make_node("Neg", ["a"], ["b"]), helper.make_node("Abs", ["a"], ["c"])],
        [("a", ["batch", 4])],
        [("b", ["batch", 4]), ("c", ["batch", 4])],
        {},
    )
    onnx.save(two, tmp_path / "two.onnx")

    with pytest.raises(Invalid, match="'b', 'c' is given and 'x' is taken: nothing says which feeds which"):
        derived(Process(before=str(tmp_path / "two.onnx")))


def test_a_graph_that_defines_another_function_of_the_same_name_is_refused(derived: Any, tmp_path: Path) -> None:
    def with_function(operator: str, entered: str, left: str) -> onnx.ModelProto:
        model = model_of(
            [helper.make_node("Change", [entered], [left], domain="local")],
            [(entered, ["batch", 4])],
            [(left, ["batch", 4])],
            {},
        )
        body = [helper.make_node(operator, ["a"], ["b"])]
        model.functions.append(helper.make_function("local", "Change", ["a"], ["b"], body, model.opset_import))
        model.opset_import.append(helper.make_opsetid("local", 1))
        return model

    onnx.save(with_function("Neg", "in", "z"), tmp_path / "one.onnx")
    onnx.save(with_function("Abs", "z", "x"), tmp_path / "other.onnx")
    one = derived(Process(before=str(tmp_path / "other.onnx"))).bundle.path

    with pytest.raises(Invalid, match=r"both define a function local\.Change, each another one"):
        derived(Process(before=str(tmp_path / "one.onnx")), of=one)


def test_a_pickle_is_refused_here_too(derived: Any, tmp_path: Path) -> None:
    joblib.dump(StandardScaler().fit(weight(9, 4)), tmp_path / "scaler")

    with pytest.raises(PickleRefused, match="reading it runs whatever code"):
        derived(Process(before=str(tmp_path / "scaler")))
