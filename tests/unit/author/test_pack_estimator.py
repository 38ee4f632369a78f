"""Packing scikit-learn estimators: the forms their inputs take, parity with the original, what cannot be packed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import IsolationForest, RandomForestClassifier, RandomForestRegressor, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron, RidgeClassifier
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, OneHotEncoder, RobustScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier

from tidegate.author import DataSet, GoldenRequest
from tidegate.author.frameworks import ConversionFailed
from tidegate.errors import Invalid

MIXED = np.array([["a", 1.0], ["b", 2.0], ["a", 3.0], ["c", 1.0]] * 5, dtype=object)
TEXTS = ["the tide is high", "the gate is shut", "high water", "shut the gate", "low tide", "open gate"] * 3


def _answers(result: Any, inputs: dict[str, Any]) -> list[Any]:
    session = onnxruntime.InferenceSession(str(result.bundle.path / "model.onnx"), providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


def _outputs(result: Any) -> dict[str, tuple[str, tuple[Any, ...]]]:
    return {tensor.name: (tensor.element_type, tensor.shape) for tensor in result.bundle.manifest.interface.outputs}


def test_a_classifier_gives_its_label_and_a_plain_tensor_of_probabilities(packed: Any, blobs: DataSet) -> None:
    estimator = LogisticRegression().fit(blobs.columns["X"], blobs.labels)

    result = packed(estimator)

    assert _outputs(result) == {"label": ("INT64", ("batch",)), "probabilities": ("FP32", ("batch", 3))}
    label, probabilities = _answers(result, {"input": blobs.columns["X"].astype(np.float32)})
    assert (label == estimator.predict(blobs.columns["X"])).all()
    assert probabilities == pytest.approx(estimator.predict_proba(blobs.columns["X"]), abs=1e-5)


def test_the_label_may_tip_over_where_probabilities_are_level(packed: Any, blobs: DataSet) -> None:
    result = packed(LogisticRegression().fit(blobs.columns["X"], blobs.labels))

    rules = {row.output: row for row in result.bundle.manifest.golden.tolerance}
    assert rules["probabilities"].top1
    assert rules["label"].label_of == "probabilities"


def test_metrics_are_computed_from_labels_and_name_their_data(packed: Any, blobs: DataSet) -> None:
    estimator = LogisticRegression().fit(blobs.columns["X"], blobs.labels)

    metrics = packed(estimator, data=blobs).bundle.manifest.metrics

    assert [metric.name for metric in metrics] == ["accuracy", "precision", "recall", "f1", "roc_auc", "log_loss"]
    assert metrics[0].value == pytest.approx(estimator.score(blobs.columns["X"], blobs.labels))
    assert (metrics[0].dataset, metrics[0].samples) == ("blobs", 180)


def test_a_regressor_is_measured_by_its_errors(packed: Any, blobs: DataSet) -> None:
    x = blobs.columns["X"]
    data = DataSet("sums", {"X": x}, x.sum(axis=1))

    result = packed(LinearRegression().fit(x, data.labels), data=data)

    assert {metric.name for metric in result.bundle.manifest.metrics} == {"mae", "mse", "rmse", "r2"}
    assert result.bundle.manifest.metric_values()["r2"] == pytest.approx(1)


def test_several_targets_keep_their_columns(packed: Any, blobs: DataSet) -> None:
    x = blobs.columns["X"]
    regressor = MLPRegressor(hidden_layer_sizes=(8,), max_iter=2000, tol=0.1, random_state=0).fit(x, x[:, :3])

    result = packed(regressor)

    assert list(_outputs(result).values()) == [("FP32", ("batch", 3))]


def test_trees_are_damaged_in_their_attributes(packed: Any, blobs: DataSet) -> None:
    forest = RandomForestClassifier(10, random_state=0).fit(blobs.columns["X"], blobs.labels)

    damage = packed(forest).bundle.manifest.parity["goldenDamage"]

    assert damage["tried"] >= 5
    assert damage["noticed"] == damage["tried"]


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestRegressor(5, random_state=0),
        KNeighborsClassifier(3),
        LinearSVC(random_state=0),
        KMeans(3, random_state=0, n_init=1),
        IsolationForest(n_estimators=3, random_state=0),
        make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=0)),
        VotingClassifier([("a", LogisticRegression()), ("b", DecisionTreeClassifier())], flatten_transform=False),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_estimators_of_every_kind_answer_like_the_original(packed: Any, blobs: DataSet, estimator: Any) -> None:
    result = packed(estimator.fit(blobs.columns["X"], blobs.labels), data=DataSet("x", dict(blobs.columns)))

    assert result.bundle.manifest.parity["original"]["mismatchedRows"] == 0


@pytest.mark.parametrize(
    "estimator",
    [
        LinearSVC(random_state=0),
        SVC(),
        SVC(decision_function_shape="ovo"),
        RidgeClassifier(),
        KMeans(3, random_state=0, n_init=1),
        GaussianMixture(3, random_state=0),
        IsolationForest(n_estimators=3, random_state=0),
        OneClassSVM(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_scores_of_what_has_no_probabilities_are_compared_too(packed: Any, blobs: DataSet, estimator: Any) -> None:
    result = packed(estimator.fit(blobs.columns["X"], blobs.labels), data=DataSet("x", dict(blobs.columns)))

    compared = [output["name"] for output in result.bundle.manifest.parity["original"]["outputs"]]
    assert compared == list(_outputs(result))
    assert len(compared) == 2


def test_scores_of_two_classes_are_those_of_each(packed: Any, blobs: DataSet) -> None:
    estimator = Perceptron().fit(blobs.columns["X"], blobs.labels > 0)

    result = packed(estimator)

    _, scores = _answers(result, {"input": blobs.columns["X"].astype(np.float32)})
    right = estimator.decision_function(blobs.columns["X"])
    assert scores == pytest.approx(np.stack([-right, right], axis=1), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("estimator", [SVC(), RidgeClassifier()], ids=["turned round", "of another shape than told"])
def test_an_output_that_nothing_of_the_estimator_agrees_with_is_left_out(
    packed: Any, blobs: DataSet, estimator: Any
) -> None:
    estimator.fit(blobs.columns["X"], np.minimum(blobs.labels, 1))

    result = packed(estimator)

    name = type(estimator).__name__
    assert list(_outputs(result)) == ["label"]
    assert result.notes[0] == f"the output 'probabilities' was left out: nothing that {name} gives agrees with it"
    (label,) = _answers(result, {"input": blobs.columns["X"].astype(np.float32)})
    assert (label == estimator.predict(blobs.columns["X"])).all()


@pytest.mark.parametrize("scaler", [RobustScaler(), MaxAbsScaler()], ids=lambda scaler: type(scaler).__name__)
def test_scalers_before_trees_divide_as_the_original_does(packed: Any, blobs: DataSet, scaler: Any) -> None:
    pipeline = make_pipeline(scaler, DecisionTreeClassifier(random_state=0)).fit(blobs.columns["X"], blobs.labels)

    model = onnx.load(packed(pipeline).bundle.path / "model.onnx", load_external_data=False)

    assert "Div" in {node.op_type for node in model.graph.node}


def test_packing_an_estimator_twice_in_one_process_gives_the_same_digest(packed: Any, blobs: DataSet) -> None:
    estimator = KNeighborsClassifier(3).fit(blobs.columns["X"], blobs.labels)

    assert packed(estimator).bundle.digest == packed(estimator).bundle.digest


def test_a_pipeline_on_texts_takes_one_text_per_row(packed: Any) -> None:
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, ["sea", "lock"] * 9)

    result = packed(pipeline)

    assert result.bundle.manifest.interface.inputs[0].element_type == "BYTES"
    label, _ = _answers(result, {"input": np.array(TEXTS, dtype=object).reshape(-1, 1)})
    assert label.tolist() == pipeline.predict(TEXTS).tolist()


def test_columns_of_several_types_become_inputs_of_their_own(packed: Any) -> None:
    columns = ColumnTransformer([("city", OneHotEncoder(), [0]), ("age", StandardScaler(), [1])])
    pipeline = make_pipeline(columns, LogisticRegression()).fit(MIXED, [0, 1, 0, 1] * 5)

    result = packed(pipeline)

    inputs = {tensor.name: tensor.element_type for tensor in result.bundle.manifest.interface.inputs}
    assert inputs == {"x0": "BYTES", "x1": "FP32"}


def test_an_encoder_of_categories_takes_texts(packed: Any) -> None:
    encoder = OneHotEncoder(handle_unknown="ignore")
    pipeline = make_pipeline(encoder, LogisticRegression()).fit(MIXED[:, :1], [0, 1, 0, 1] * 5)

    result = packed(pipeline)

    assert result.bundle.manifest.interface.inputs[0].element_type == "BYTES"
    assert result.bundle.manifest.parity["goldenDamage"]["share"] == "1.0000"


def test_held_out_rows_are_published_only_when_asked_for(packed: Any, blobs: DataSet) -> None:
    estimator = LogisticRegression().fit(blobs.columns["X"], blobs.labels)

    generated = packed(estimator, data=blobs)
    heldout = packed(estimator, data=blobs, golden=GoldenRequest("heldout"))

    real = {tuple(row) for row in blobs.columns["X"].astype(np.float32).tolist()}
    assert not real & _golden_rows(generated)
    assert _golden_rows(heldout) <= real
    assert "real rows are published" in heldout.notes[0]


def _golden_rows(result: Any) -> set[tuple[float, ...]]:
    rows: set[tuple[float, ...]] = set()
    for name in result.bundle.manifest.golden.files:
        with np.load(result.bundle.path / name) as arrays:
            rows |= {tuple(row) for row in arrays["input:input"].tolist()}
    return rows


def test_an_estimator_that_was_never_fitted_is_refused(packed: Any) -> None:
    with pytest.raises(Invalid, match="not fitted yet"):
        packed(LogisticRegression())


def test_what_does_not_predict_is_refused(packed: Any) -> None:
    with pytest.raises(Invalid, match="this is a dict"):
        packed({"weights": [1, 2]})


def test_python_code_inside_a_pipeline_is_refused_with_advice(packed: Any, blobs: DataSet) -> None:
    pipeline = make_pipeline(FunctionTransformer(np.log1p), LogisticRegression())
    pipeline.fit(np.abs(blobs.columns["X"]), blobs.labels)

    with pytest.raises(ConversionFailed, match="move the function out of the pipeline"):
        packed(pipeline)


def test_data_with_other_columns_is_refused(packed: Any, blobs: DataSet) -> None:
    estimator = LogisticRegression().fit(blobs.columns["X"], blobs.labels)

    with pytest.raises(Invalid, match="5 columns"):
        packed(estimator, data=DataSet("wide", {"X": np.zeros((3, 5))}))
