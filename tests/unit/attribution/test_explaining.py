"""Rows in, tensors out, within what an explanation may cost."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from tidegate.attribution.explaining import Called, Explained, Limits, Material, Wish, explain_rows, explainable
from tidegate.attribution.methods import OCCLUSION, WAYS
from tidegate.attribution.players import PictureForm
from tidegate.bundle.manifest import Interface, TensorSpec
from tidegate.errors import Invalid

X, Y, LABEL = TensorSpec("x", "FP32", ("N", 3)), TensorSpec("y", "FP32", ("N", 2)), TensorSpec("label", "INT64", ("N",))
ROWS = {"x": np.arange(12, dtype=np.float32).reshape(4, 3)}
USUAL = Limits()
WEIGHTS = np.array([[1, 0], [0, 2], [3, 4]], np.float32)


def linear(pool: dict[str, Any]) -> dict[str, Any]:
    return {"y": pool["x"] @ WEIGHTS}


def explained(ask: Any = linear, rows: Any = ROWS, limits: Limits = USUAL, count: int = 20, **wish: Any) -> Explained:
    asked = Wish(method=OCCLUSION, rows=count, **wish)
    return explain_rows(ask, WAYS[asked.method], Material(Interface((X,), (Y, LABEL)), rows, (Y,)), asked, limits)


def test_tensors_are_laid_out_as_rows_values_and_parts() -> None:
    arrays = explained().arrays(errors=True)

    expected = (ROWS["x"] - ROWS["x"].mean(axis=0))[:, None, :] * WEIGHTS.T[None]
    assert arrays["attribution:y:x"] == pytest.approx(expected)
    assert arrays["error:y:x"].shape == (4, 2, 3)
    assert arrays["answer:y"] == pytest.approx(ROWS["x"] @ WEIGHTS)
    assert arrays["usual:y"] == pytest.approx(ROWS["x"].mean(axis=0) @ WEIGHTS)
    assert arrays["players:x"].tolist() == ["x[0]", "x[1]", "x[2]"]
    assert "error:y:x" not in explained().arrays(errors=False)


def test_all_rows_say_what_is_usual_and_only_the_first_are_explained() -> None:
    all_of_them = explained().arrays(errors=False)["attribution:y:x"]

    assert explained(count=2).arrays(errors=False)["attribution:y:x"] == pytest.approx(all_of_them[:2])


def test_no_run_has_more_rows_than_it_may() -> None:
    sizes = []

    def ask(pool: dict[str, Any]) -> dict[str, Any]:
        sizes.append(len(pool["x"]))
        return linear(pool)

    explained(ask, limits=Limits(run_rows=2))

    assert max(sizes) == 2


def test_a_run_of_texts_is_as_small_as_the_texts_are_long() -> None:
    sizes = []

    def ask(pool: dict[str, Any]) -> dict[str, Any]:
        sizes.append(len(pool["x"]))
        return {"y": np.array([[float(len(text)) for text in row] for row in pool["x"].tolist()])}

    rows = np.full((2, 8), "short", object)
    rows[0, 3] = "long" * 2500  # 10,000 bytes in any run of this row
    words = TensorSpec("x", "BYTES", ("N", 8))
    material = Material(Interface((words,), (Y,)), {"x": rows}, (Y,))

    explain_rows(ask, WAYS[OCCLUSION], material, Wish(method=OCCLUSION, rows=1), Limits(run_bytes=32_000))

    assert max(sizes) == 3


def test_more_questions_than_are_allowed_are_refused_before_the_first_with_the_figure() -> None:
    with pytest.raises(Invalid, match=r"4 rows of 3 parts ask the model about 20 rows, and 19 are the limit"):
        explained(ask=None, limits=Limits(asked=19))


def test_what_is_called_otherwise_elsewhere_is_named_so() -> None:
    called = Called("inputs", "outputs", "parameters.")

    with pytest.raises(Invalid, match=r"inputs: .* fewer parameters.rows or parameters.rounds"):
        explained(ask=None, limits=Limits(asked=19), called=called)


@pytest.mark.parametrize(
    ("rows", "held", "message"),
    [
        (0, 1000, "there is no row to explain"),
        (1, 1000, "one row is its own mean"),
        (2, 10, "2 rows with 3 parts each are too many to hold"),
    ],
)
def test_rows_that_cannot_be_explained_are_refused_before_anything_is_asked(rows: int, held: int, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        explained(ask=None, rows={"x": np.zeros((rows, 3), np.float32)}, limits=Limits(held=held))


@pytest.mark.parametrize("limits", [Limits(asked=1000), Limits(held=8 << 20)], ids=["asked", "held"])
@pytest.mark.parametrize(
    ("shape", "form"),
    [((250_000,), PictureForm()), ((250_000, 1), PictureForm()), ((250_000,), PictureForm(500, 500, 1))],
    ids=["columns", "steps", "patches"],
)
def test_too_many_parts_are_counted_and_not_made(shape: tuple[int, ...], form: PictureForm, limits: Limits) -> None:
    rows = {"x": np.zeros((2, *shape), np.float32)}
    tracemalloc.start()
    try:
        with pytest.raises(Invalid, match=r"2 rows (of|with) 250000 parts"):
            explained(ask=None, rows=rows, limits=limits, picture=form)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000  # bytes: an entry for each part would be more


@pytest.mark.parametrize("shape", [(0,), (0, 3), (0, 28, 1), (28, 0, 3), (3, 0, 0)])
def test_a_row_without_any_part_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(Invalid, match="a row has no values, and so no part to explain"):
        explained(ask=None, rows={"x": np.zeros((2, *shape), np.float32)})


def test_an_input_without_values_beside_one_that_has_some_adds_nothing() -> None:
    inputs = (X, TensorSpec("hint", "FP32", ("N", "h", "w", 3)))
    rows = {**ROWS, "hint": np.zeros((4, 0, 5, 3), np.float32)}

    arrays = explain_rows(
        linear, WAYS[OCCLUSION], Material(Interface(inputs, (Y,)), rows, (Y,)), Wish(method=OCCLUSION), USUAL
    ).arrays(errors=False)

    assert arrays["attribution:y:x"] == pytest.approx(explained().arrays(errors=False)["attribution:y:x"])
    assert arrays["attribution:y:hint"].shape == (4, 2, 0, 5)


def test_more_values_than_can_be_held_are_refused_after_the_first_answer() -> None:
    with pytest.raises(Invalid, match="4 rows with 3 parts and 2 values of the answer each are too many to hold"):
        explained(limits=Limits(held=100))


def test_an_answer_whose_shape_depends_on_the_values_is_refused() -> None:
    def ask(pool: dict[str, Any]) -> dict[str, Any]:
        return {"y": pool["x"][pool["x"][:, 0] > 3]}

    with pytest.raises(Invalid, match="the shape of output 'y' depends on the values"):
        explained(ask)


def test_only_outputs_of_numbers_with_a_fraction_are_explained() -> None:
    assert explainable((Y, LABEL), (), Called()) == (Y,)
    assert explainable((Y, LABEL), ("y", "y"), Called()) == (Y,)
    with pytest.raises(Invalid, match="there is no output 'label' of numbers with a fraction: those are y"):
        explainable((Y, LABEL), ("label",), Called())
    with pytest.raises(Invalid, match="a label cannot be shared out"):
        explainable((LABEL,), (), Called())
