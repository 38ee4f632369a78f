"""Accuracy, R² and what a variant loses of them: figures and intervals against known values."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tidegate.author.optimize.quality import ACCURACY, R2, Fidelity, judge
from tidegate.errors import Failed, Invalid

SCORES = {"scores": "FP32"}


def _scores(classes: list[int]) -> dict[str, np.ndarray]:
    return {"scores": np.eye(3, dtype=np.float32)[classes]}


def test_accuracy_has_wilsons_interval() -> None:
    estimate = judge(_scores([0] * 90 + [1] * 10), np.zeros(100, int), SCORES).estimate()

    assert estimate.value == pytest.approx(0.9)
    assert (estimate.low, estimate.high) == pytest.approx((0.8256, 0.9448), abs=1e-4)  # of Wilson's paper's formula


def test_what_is_lost_is_counted_on_the_same_rows() -> None:
    labels = np.zeros(100, int)
    parent = judge(_scores([0] * 95 + [1] * 5), labels, SCORES)
    variant = judge(_scores([1] * 3 + [0] * 93 + [1] * 4), labels, SCORES)

    drop = parent.drop_to(variant)

    assert drop.value == pytest.approx(0.02)
    assert drop.low < 0.02 < drop.high


def test_a_variant_that_answers_alike_loses_nothing_but_certainty_grows_with_the_rows() -> None:
    few, many = (judge(_scores([0] * n), np.zeros(n, int), SCORES) for n in (50, 5000))

    assert few.drop_to(few).value == 0
    assert few.drop_to(few).high > 10 * many.drop_to(many).high > 0


def test_classes_may_be_texts() -> None:
    answers = {"label": np.array(["cat", "dog"], dtype=object)}

    judged = judge(answers, np.array(["cat", "cat"], dtype=object), {"label": "BYTES"})

    assert judged.metric == ACCURACY
    assert judged.estimate().value == 0.5


def test_numbers_are_judged_by_the_share_of_variance_explained() -> None:
    labels = np.linspace(0, 1, 200)
    right = judge({"y": labels.astype(np.float32)[:, None]}, labels, {"y": "FP32"})
    noisy = judge({"y": (labels + 0.1 * np.resize([1, -1], 200)).astype(np.float32)[:, None]}, labels, {"y": "FP32"})

    drop = right.drop_to(noisy)

    assert right.metric == R2
    assert right.estimate().value == pytest.approx(1)
    assert drop.value == pytest.approx(1 - noisy.estimate().value, abs=1e-6)
    assert drop.low < drop.value < drop.high


def test_labels_that_nothing_can_be_compared_with_are_refused() -> None:
    with pytest.raises(Invalid, match="there is nothing to judge by"):
        judge({"y": np.zeros((4, 3), np.float32)}, np.array([0.5, 1.5, 2.5, 3.5]), {"y": "FP32"})


def test_fidelity_counts_rows_of_another_class_without_any_label() -> None:
    fidelity = Fidelity(ACCURACY, SCORES)

    assert fidelity.changed(_scores([0, 1, 2, 0]), _scores([0, 1, 2, 1])) == 0.25
    assert fidelity.error(_scores([0, 1]), _scores([0, 1])) == 0


def test_fidelity_of_numbers_is_the_share_of_their_variance_that_moved() -> None:
    numbers = {"y": np.array([[0.0], [2.0]], np.float32)}

    assert Fidelity(R2, {"y": "FP32"}).changed(numbers, {"y": np.array([[1.0], [2.0]], np.float32)}) == 0.5


COLUMN = {"y": "FP32"}
ZEROS_AND_ONES = np.resize([0, 1], 100)


def _column(values: np.ndarray) -> dict[str, np.ndarray]:
    return {"y": values.astype(np.float32)[:, None]}


@pytest.mark.parametrize("strange", [1.5, -0.1, np.nan])
def test_one_answer_that_is_no_probability_makes_a_variant_of_probabilities_one_that_cannot_be_judged(
    strange: float,
) -> None:
    parent = judge(_column(ZEROS_AND_ONES), ZEROS_AND_ONES, COLUMN)
    answers = 1.0 - ZEROS_AND_ONES  # each of another class
    answers[7] = strange

    with pytest.raises(Failed, match="they name no class any more") as refused:
        judge(_column(answers), ZEROS_AND_ONES, COLUMN, metric=parent.metric)

    assert (parent.metric, refused.value.reason) == (ACCURACY, "AccuracyLost")


def test_a_regressors_variant_is_judged_by_numbers_also_where_all_of_them_could_be_probabilities() -> None:
    parent = judge(_column(1.1 * ZEROS_AND_ONES), ZEROS_AND_ONES, COLUMN)

    variant = judge(_column(np.full(100, 0.5)), ZEROS_AND_ONES, COLUMN, metric=parent.metric)

    assert parent.drop_to(variant).value == pytest.approx(0.98)


def test_fidelity_takes_a_variant_that_names_no_class_for_another_in_every_row() -> None:
    fidelity = Fidelity(ACCURACY, COLUMN)

    assert fidelity.changed(_column(ZEROS_AND_ONES), _column(1.5 * ZEROS_AND_ONES)) == 1
    with pytest.raises(Failed, match="the answers to these rows name no class"):
        fidelity.changed(_column(1.5 * ZEROS_AND_ONES), _column(ZEROS_AND_ONES))


def test_the_interval_of_many_rows_takes_little_memory() -> None:
    labels = np.linspace(0, 1, 20_000)
    judged = judge(_column(labels**2), labels, COLUMN)

    tracemalloc.start()
    judged.estimate()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 20 << 20
