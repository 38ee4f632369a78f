"""Metrics from answers and labels, held against scikit-learn's, and reading those that were computed elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from tidegate.author.given_metrics import metric_of, read_metrics
from tidegate.author.metrics import confusion_of, measure
from tidegate.errors import Invalid


def _classifier(classes: int) -> tuple[Any, Any]:
    """Probabilities as a model answers them, and what is right: some rows wrong, some scores tied."""
    random = np.random.default_rng(classes)
    right = random.integers(0, classes, 300)
    logits = random.standard_normal((300, classes)).round(1) + 1.5 * np.eye(classes)[right]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return scores.astype(np.float32), right


@pytest.mark.parametrize("classes", [2, 5])
def test_class_metrics_are_what_scikit_learn_says(classes: int) -> None:
    scores, right = _classifier(classes)
    found, average = scores.argmax(axis=1), "binary" if classes == 2 else "macro"

    metrics = measure({"p": scores}, right, {"p": "FP32"})

    assert metrics["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(right, found))
    assert metrics["precision"] == pytest.approx(sklearn_metrics.precision_score(right, found, average=average))
    assert metrics["recall"] == pytest.approx(sklearn_metrics.recall_score(right, found, average=average))
    assert metrics["f1"] == pytest.approx(sklearn_metrics.f1_score(right, found, average=average))


@pytest.mark.parametrize("classes", [2, 5])
def test_auc_and_log_loss_are_what_scikit_learn_says(classes: int) -> None:
    scores, right = _classifier(classes)
    shown = scores[:, 1] if classes == 2 else scores.astype(np.float64) / scores.sum(axis=1, keepdims=True, dtype=float)

    metrics = measure({"p": scores}, right, {"p": "FP32"})

    assert metrics["roc_auc"] == pytest.approx(sklearn_metrics.roc_auc_score(right, shown, multi_class="ovr"), abs=1e-6)
    assert metrics["log_loss"] == pytest.approx(sklearn_metrics.log_loss(right, scores), abs=1e-6)


def test_a_certain_and_wrong_answer_costs_what_scikit_learn_says() -> None:
    scores = np.array([[0.0, 1.0], [0.0, 1.0], [0.5, 0.5]], np.float32)
    right = np.array([0, 1, 1])

    metrics = measure({"p": scores}, right, {"p": "FP32"})

    assert metrics["log_loss"] == pytest.approx(sklearn_metrics.log_loss(right, scores), rel=1e-6)


def test_scores_that_are_no_probabilities_have_an_auc_and_no_log_loss() -> None:
    scores, right = _classifier(5)

    metrics = measure({"p": np.log(scores)}, right, {"p": "FP32"})

    assert "roc_auc" in metrics
    assert "log_loss" not in metrics


def test_there_is_no_auc_when_a_class_does_not_occur() -> None:
    scores, right = _classifier(5)
    kept = right != 3

    assert "roc_auc" not in measure({"p": scores[kept]}, right[kept], {"p": "FP32"})


def test_a_column_of_probabilities_is_judged_as_two_classes() -> None:
    scores, right = _classifier(2)
    column = scores[:, 1:]

    metrics = measure({"p": column}, right, {"p": "FP32"})

    assert metrics["accuracy"] == pytest.approx((scores.argmax(axis=1) == right).mean())
    assert metrics["roc_auc"] == pytest.approx(sklearn_metrics.roc_auc_score(right, column))


def test_scores_of_a_model_that_takes_one_row_at_a_time_are_judged_as_those_of_others() -> None:
    scores, right = _classifier(5)

    assert measure({"p": scores[:, None]}, right, {"p": "FP32"}) == measure({"p": scores}, right, {"p": "FP32"})


def test_columns_of_scores_belong_to_the_classes_that_the_label_output_names() -> None:
    scores, codes = _classifier(3)
    names = np.array(["cat", "dog", "owl"], dtype=object)
    answers = {"label": names[scores.argmax(axis=1)], "p": scores}

    metrics = measure(answers, names[codes], {"label": "BYTES", "p": "FP32"})

    assert metrics["log_loss"] == pytest.approx(sklearn_metrics.log_loss(codes, scores), abs=1e-6)


def test_scores_whose_columns_cannot_be_told_give_no_auc() -> None:
    scores, right = _classifier(3)
    turned = scores[:, [1, 2, 0]]

    metrics = measure({"label": scores.argmax(axis=1), "p": turned}, right, {"label": "INT64", "p": "FP32"})

    assert metrics["accuracy"] == pytest.approx((scores.argmax(axis=1) == right).mean())
    assert "roc_auc" not in metrics


def test_numbers_of_named_classes_are_compared_with_a_model_that_answers_names() -> None:
    answers = {"label": np.array(["owl", "cat"], dtype=object)}

    assert measure(answers, np.array([1, 0]), {"label": "BYTES"}, ("cat", "owl"))["accuracy"] == 1


def test_classes_that_are_called_by_numbers_are_those_numbers() -> None:
    answers = {"label": np.array([7, 3])}

    assert measure(answers, np.array([1, 0]), {"label": "INT64"}, ("3", "7"))["accuracy"] == 1


def test_the_confusion_matrix_is_what_scikit_learn_says() -> None:
    scores, right = _classifier(5)

    found = confusion_of({"p": scores}, right, {"p": "FP32"})

    assert found is not None
    assert found.classes == (0, 1, 2, 3, 4)
    np.testing.assert_array_equal(found.counts, sklearn_metrics.confusion_matrix(right, scores.argmax(axis=1)))


def test_number_metrics_are_what_scikit_learn_says() -> None:
    random = np.random.default_rng(0)
    right = random.standard_normal(100)
    found = right + random.standard_normal(100)

    metrics = measure({"y": found.reshape(-1, 1)}, right, {"y": "FP64"})

    assert metrics["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(right, found))
    assert metrics["mse"] == pytest.approx(sklearn_metrics.mean_squared_error(right, found))
    assert metrics["rmse"] == pytest.approx(sklearn_metrics.root_mean_squared_error(right, found))
    assert metrics["r2"] == pytest.approx(sklearn_metrics.r2_score(right, found))


def test_several_whole_numbers_per_row_are_targets_and_no_classes() -> None:
    right = np.arange(12).reshape(4, 3)

    assert measure({"y": right.astype(np.float32)}, right, {"y": "FP32"})["mse"] == 0


def test_bf16_scores_are_read_as_numbers() -> None:
    scores = np.array([[-2.0, 0.5], [3.0, 1.0]], np.float32)
    bits = (scores.view(np.uint32) >> 16).astype(np.uint16)

    assert measure({"p": bits}, np.array([1, 0]), {"p": "BF16"})["accuracy"] == 1


def test_text_labels_that_no_output_can_name_are_refused() -> None:
    with pytest.raises(Invalid, match="no output names a class"):
        measure({"y": np.zeros((2, 1))}, np.array(["a", "b"]), {"y": "FP32"})


def test_numbers_for_other_rows_than_the_model_answers_are_refused() -> None:
    with pytest.raises(Invalid, match="no output can be compared with the labels"):
        measure({"y": np.zeros((2, 3))}, np.array([0.5, 0.5]), {"y": "FP32"})


def test_metrics_computed_elsewhere_come_from_json(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"auc": 0.91}')

    assert read_metrics(tmp_path / "m.json") == {"auc": 0.91}


@pytest.mark.parametrize("text", ["{", "[1]", '{"auc": "high"}', '{"auc": NaN}', '{"auc": true}'])
def test_json_that_holds_no_numbers_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)

    with pytest.raises(Invalid, match=r"m\.json"):
        read_metrics(tmp_path / "m.json")


@pytest.mark.parametrize("text", ["accuracy", "=1", "accuracy=high", "accuracy=inf"])
def test_a_metric_of_the_command_line_is_a_name_and_a_number(text: str) -> None:
    with pytest.raises(Invalid):
        metric_of(text)
