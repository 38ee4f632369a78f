"""Parity: what counts as the same answer, and how a wrong conversion is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tidegate.author import causes
from tidegate.author.describe import interface_of
from tidegate.author.frameworks import Converted
from tidegate.author.golden import tolerances
from tidegate.author.parity import Comparison, ParityLost
from tidegate.author.pool import Hints, PoolMaker
from tidegate.author.session import Array, Runner, Tensors, open_runner
from tidegate.errors import Failed

ROWS = {"x": np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)}


@dataclass(frozen=True)
class Told:
    """An original whose answers are a function of the rows."""

    answer: Callable[[Array], Mapping[str, Array]]
    framework: str = "Abacus"

    def answers(self, inputs: Tensors) -> Mapping[str, Array]:
        return self.answer(inputs["x"])


@pytest.fixture
def doubling(tmp_path: Path) -> Runner:
    """y = 2x over rows of four."""
    return _runner(tmp_path, [helper.make_node("Mul", ["x", "two"], ["y"])], {"y": TensorProto.FLOAT})


@pytest.fixture
def rounding(tmp_path: Path) -> Runner:
    """y = the whole number below 2x."""
    nodes = [helper.make_node("Mul", ["x", "two"], ["twice"]), helper.make_node("Floor", ["twice"], ["y"])]
    return _runner(tmp_path, nodes, {"y": TensorProto.FLOAT})


@pytest.fixture
def pictures(tmp_path: Path) -> Runner:
    """y = the sum over the rows of pictures of any size."""
    axis = numpy_helper.from_array(np.array([1]), "axis")
    shapes: dict[str, list[Any]] = {"x": ["batch", "rows", "columns"], "y": ["batch", "columns"]}
    nodes = [helper.make_node("ReduceSum", ["x", "axis"], ["y"], keepdims=0)]
    return _runner(tmp_path, nodes, {"y": TensorProto.FLOAT}, shapes, [axis])


@pytest.fixture
def sequences(tmp_path: Path) -> Runner:
    """y = 2x over sequences of any length, of which the graph uses the first eight."""
    ends = [numpy_helper.from_array(np.array([value]), name) for name, value in (("a", 0), ("b", 8), ("axis", 1))]
    nodes = [
        helper.make_node("Slice", ["x", "a", "b", "axis"], ["cut"]),
        helper.make_node("ReduceSum", ["cut", "axis"], ["y"]),
    ]
    shapes: dict[str, list[Any]] = {"x": ["batch", "seq"], "y": ["batch", 1]}
    return _runner(tmp_path, nodes, {"y": TensorProto.FLOAT}, shapes, ends)


@pytest.fixture
def classifier(tmp_path: Path) -> Runner:
    """Scores, and the number of the highest."""
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    return _runner(tmp_path, nodes, {"label": TensorProto.INT64, "scores": TensorProto.FLOAT})


def _runner(
    folder: Path,
    nodes: list[Any],
    outputs: dict[str, int],
    shapes: dict[str, list[Any]] | None = None,
    weights: Any = (),
) -> Runner:
    shape = {"label": ["batch"], **(shapes or {})}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape.get("x", ["batch", 4]))],
        [helper.make_tensor_value_info(name, kind, shape.get(name, ["batch", 4])) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.array(2, np.float32), "two"), *weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, folder / "model.onnx")
    return open_runner(folder / "model.onnx", interface_of(model))


def _compare(runner: Runner, answer: Callable[[Array], Mapping[str, Array]], rows: Tensors = ROWS) -> Any:
    return _comparison(runner, answer).on(rows)


def _comparison(runner: Runner, answer: Callable[[Array], Mapping[str, Array]]) -> Comparison:
    model = onnx.load(runner.session._model_path)
    return Comparison(Converted(model, Told(answer)), runner, tolerances(runner.interface, quantized=False))


def test_equal_answers_are_counted_row_by_row(doubling: Runner) -> None:
    report = _compare(doubling, lambda x: {"y": 2 * x}).document()

    assert (report["against"], report["rows"], report["mismatchedRows"]) == ("Abacus", 200, 0)
    assert report["batchSizes"] == [1, 3, 200]
    assert report["outputs"][0]["shape"] == ["batch", 4]


def _one_more_in_row_seven(y: Array) -> Mapping[str, Array]:
    y[7:8] += 1
    return {"y": y}


def test_a_row_that_tips_over_a_step_is_counted_and_kept_out_of_the_worst_difference(rounding: Runner) -> None:
    report = _compare(rounding, lambda x: _one_more_in_row_seven(np.floor(2 * x))).document()

    assert (report["mismatchedRows"], report["worstDifference"]) == (1, "0")


def test_a_single_wrong_row_is_refused_where_no_step_explains_it(doubling: Runner) -> None:
    with pytest.raises(ParityLost, match=r"1 of 200 rows differ .* row 7 by 1"):
        _compare(doubling, lambda x: _one_more_in_row_seven(2 * x))


def test_too_many_rows_are_refused_naming_output_rows_and_worst_difference(doubling: Runner) -> None:
    with pytest.raises(ParityLost, match=r"output 'y': 200 of 200 rows differ from what the Abacus model .* by 0\.5"):
        _compare(doubling, lambda x: {"y": 2 * x + 0.5})


def test_another_shape_is_refused(doubling: Runner) -> None:
    with pytest.raises(ParityLost, match=r"output 'y' has the shape \[1, 4\], the original gives \[4, 1\]"):
        _compare(doubling, lambda x: {"y": 2 * x.reshape(-1, 1)})


@pytest.mark.parametrize(("label", "told"), [(np.float64, "numbers with a fraction"), (np.str_, "texts")])
def test_another_type_is_refused(classifier: Runner, label: Any, told: str) -> None:
    with pytest.raises(
        ParityLost, match=f"output 'label' holds whole numbers, the original gives {told}: the conversion"
    ):
        _compare(classifier, lambda x: {"label": x.argmax(axis=1).astype(label), "scores": 2 * x})


def test_what_is_right_only_in_one_batch_size_is_refused(doubling: Runner) -> None:
    with pytest.raises(ParityLost, match="3 of 200 rows differ"):
        _compare(doubling, lambda x: {"y": 2 * x + (len(x) == 3)})


def test_a_number_that_is_none_on_both_sides_is_equal(doubling: Runner) -> None:
    rows = {"x": np.array([[1, 2, 3, 4], *[[np.nan] * 4] * 4], np.float32)}

    assert _compare(doubling, lambda x: {"y": 2 * x}, rows).mismatched == 0


def test_a_number_that_only_the_conversion_lost_is_a_difference(doubling: Runner) -> None:
    with pytest.raises(ParityLost, match="by inf"):
        _compare(doubling, lambda x: {"y": np.full_like(x, np.nan)})


@pytest.mark.parametrize("told", [np.inf, -np.inf])
def test_a_number_where_the_original_gives_an_infinite_one_is_a_difference(doubling: Runner, told: float) -> None:
    with pytest.raises(ParityLost, match=r"200 of 200 rows differ .* by inf"):
        _compare(doubling, lambda x: {"y": np.full_like(x, told)})


def test_infinite_numbers_on_both_sides_are_equal(doubling: Runner) -> None:
    rows = {"x": np.array([[1, 2, 3, 4], [np.inf, -np.inf, 0, np.inf]], np.float32)}

    assert _compare(doubling, lambda x: {"y": 2 * x}, rows).mismatched == 0


@pytest.mark.parametrize("told", [np.nan, np.inf])
def test_rows_without_a_single_finite_answer_prove_nothing(doubling: Runner, told: float) -> None:
    rows = {"x": np.full((5, 4), told, np.float32)}

    with pytest.raises(Failed, match=r"no finite number in output 'y' for any of 5 rows.*give rows it takes: --data"):
        _compare(doubling, lambda x: {"y": 2 * x}, rows)


def test_no_request_holds_all_rows_of_much_data(doubling: Runner) -> None:
    asked = []

    def answer(x: Array) -> Mapping[str, Array]:
        asked.append(len(x))
        return {"y": 2 * x}

    report = _compare(doubling, answer, {"x": np.ones((600, 4), np.float32)}).document()

    assert (asked, report["rows"], report["batchSizes"]) == ([1, 3, 256, 256, 88], 600, [1, 3, 88, 256])


def test_a_row_of_the_last_request_is_counted_in_its_place(doubling: Runner) -> None:
    rows = {"x": np.arange(2400, dtype=np.float32).reshape(600, 4)}

    with pytest.raises(ParityLost, match=r"100 of 600 rows differ .* row 500 by 6: .* turned round"):
        _compare(doubling, lambda x: {"y": np.where(x < 2000, 2 * x, 2 * x[:, ::-1])}, rows)


def test_another_class_is_a_difference(classifier: Runner) -> None:
    with pytest.raises(ParityLost, match="output 'label'"):
        _compare(classifier, lambda x: {"label": 3 - x.argmax(axis=1), "scores": 2 * x})


def test_another_class_is_none_where_the_scores_are_level(classifier: Runner) -> None:
    rows = {"x": np.ones((5, 4), np.float32)}

    assert _compare(classifier, lambda x: {"label": np.full(len(x), 2), "scores": 2 * x}, rows).mismatched == 0


def test_an_output_that_the_original_does_not_have_is_not_in_the_report(classifier: Runner) -> None:
    report = _compare(classifier, lambda x: {"label": x.argmax(axis=1)}).document()

    assert [output["name"] for output in report["outputs"]] == ["label"]


def _proved(runner: Runner, answer: Callable[[Array], Mapping[str, Array]], dims: dict[str, int] | None = None) -> Any:
    maker = PoolMaker(runner.interface, Hints(dims=dims or {}), seed=1)
    return _comparison(runner, answer).proved(None, maker)


def test_other_lengths_than_the_first_are_tried(sequences: Runner) -> None:
    def total(x: Array) -> Mapping[str, Array]:
        return {"y": x[:, :8].sum(axis=1, keepdims=True)}

    assert _proved(sequences, total).document()["sizes"] == [{"seq": 5}, {"seq": 11}]


def test_a_single_row_is_asked_in_batches_too(doubling: Runner) -> None:
    comparison = _comparison(doubling, lambda x: {"y": 2 * x + (len(x) > 1)})

    with pytest.raises(ParityLost, match="5 of 5 rows differ"):
        comparison.proved({"x": np.ones((1, 4), np.float32)}, PoolMaker(doubling.interface, Hints(), seed=1))


def test_a_row_that_was_repeated_counts_once(doubling: Runner) -> None:
    comparison = _comparison(doubling, lambda x: {"y": 2 * x})

    parity = comparison.proved({"x": np.ones((1, 4), np.float32)}, PoolMaker(doubling.interface, Hints(), seed=1))

    report = parity.document()
    assert (report["rows"], report["batchSizes"]) == (1, [1, 3, 5])


def test_a_length_that_was_baked_in_is_refused_with_its_cause(sequences: Runner) -> None:
    with pytest.raises(
        ParityLost, match=r"at seq=11, output 'y': .* rows differ .*: the size of the example is baked into"
    ):
        _proved(sequences, lambda x: {"y": x.sum(axis=1, keepdims=True)})


def test_a_length_that_the_original_does_not_take_is_left_out(sequences: Runner) -> None:
    def at_most_eight(x: Array) -> Mapping[str, Array]:
        if x.shape[1] > 8:
            raise ValueError("positions go to 8")
        return {"y": x.sum(axis=1, keepdims=True)}

    assert _proved(sequences, at_most_eight).document()["sizes"] == [{"seq": 5}]


def test_a_length_that_the_user_gave_is_varied_too(sequences: Runner) -> None:
    report = _proved(sequences, lambda x: {"y": x[:, :8].sum(axis=1, keepdims=True)}, {"seq": 7}).document()

    assert report["sizes"] == [{"seq": 5}, {"seq": 11}]


def test_every_dimension_gets_another_size(pictures: Runner) -> None:
    report = _proved(pictures, lambda x: {"y": x.sum(axis=1)}).document()

    assert report["sizes"] == [{"columns": 5, "rows": 11}, {"columns": 11, "rows": 3}]


def test_what_is_right_for_square_pictures_only_is_refused(pictures: Runner) -> None:
    with pytest.raises(ParityLost, match="at columns=5, rows=11, output 'y'"):
        _proved(pictures, lambda x: {"y": x.sum(axis=1) + (x.shape[1] != x.shape[2])})


@pytest.mark.parametrize(
    ("refuses", "dims", "tried"),
    [
        (lambda x: x.shape[1] != x.shape[2], {}, [{"columns": 5, "rows": 5}, {"columns": 11, "rows": 11}]),
        (lambda x: x.shape[2] != 7, {"columns": 7}, [{"rows": 5}, {"rows": 11}]),
    ],
    ids=["squares", "one width"],
)
def test_sizes_are_alike_or_as_given_where_the_original_takes_no_others(
    pictures: Runner, refuses: Callable[[Array], bool], dims: dict[str, int], tried: list[dict[str, int]]
) -> None:
    def answer(x: Array) -> Mapping[str, Array]:
        if refuses(x):
            raise ValueError(f"no {x.shape}")
        return {"y": x.sum(axis=1)}

    assert _proved(pictures, answer, dims).document()["sizes"] == tried


def test_an_original_that_does_not_answer_is_told(doubling: Runner) -> None:
    def broken(x: Array) -> Mapping[str, Array]:
        raise RuntimeError("no weights")

    with pytest.raises(Failed, match="the Abacus model itself does not answer: no weights: give rows"):
        _compare(doubling, broken)


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (lambda x: {"y": 2 * x[:, ::-1]}, "turned round"),
        (lambda x: {"y": 1 / (1 + np.exp(-2 * x))}, "raw scores"),
        (lambda x: {"y": np.exp(2 * x) / np.exp(2 * x).sum(axis=1, keepdims=True)}, "raw scores"),
        (lambda x: {"y": (2 * x).reshape(-1, 1)}, "flattened several columns into one"),
        (lambda x: {"y": x}, "the conversion is wrong for this model"),
    ],
)
def test_the_cause_is_told_from_the_difference(doubling: Runner, answer: Any, cause: str) -> None:
    with pytest.raises(ParityLost, match=cause):
        _compare(doubling, answer)


@pytest.mark.parametrize(
    ("operator", "rows", "cause"),
    [
        ("TreeEnsembleRegressor", 1, "a tree's threshold"),
        ("TreeEnsembleRegressor", 20, "the conversion is wrong for this model"),
        ("LSTM", 20, "its TensorFlow backend"),
        ("Bernoulli", 20, "random numbers"),
    ],
)
def test_the_cause_is_told_from_the_graph(operator: str, rows: int, cause: str) -> None:
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "g", [], [])
    right = np.tile([1.0, 2.0], (20, 1))
    wrong = right.copy()
    wrong[:rows] = [3.0, 7.0]

    assert cause in causes.of_values(helper.make_model(graph), right, wrong)
