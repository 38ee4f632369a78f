"""Explanations: shares add up, are fair where occlusion is not, and come out as tensors and a page."""

from __future__ import annotations

import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.unit.author.derive.conftest import bundle_of, model_of, weight

from tidegate.attribution.methods import OCCLUSION, SHAPLEY
from tidegate.attribution.players import PictureForm
from tidegate.author import DataSet, GoldenRequest
from tidegate.author.explain.explaining import ExplainRequest, Explanation, explain
from tidegate.author.explain.kernel import SHAP, way_of
from tidegate.author.extras import MissingExtra
from tidegate.errors import Invalid

WEIGHTS = weight(4, 3)
ROWS = np.random.default_rng(5).standard_normal((30, 4)).astype(np.float32)


def linear() -> onnx.ModelProto:
    return model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], [("x", ["batch", 4])], [("y", ["batch", 3])], {"w": WEIGHTS}
    )


@pytest.fixture
def explained(tmp_path: Path) -> Callable[..., Explanation]:
    """Explain rows of a model, into a folder `explained`."""

    def run(model: onnx.ModelProto, data: DataSet, **fields: Any) -> Explanation:
        bundle = bundle_of(model, tmp_path / "bundle", golden=GoldenRequest("none")).bundle.path
        return explain(str(bundle), ExplainRequest(out=tmp_path / "explained", data=data, **fields))

    return run


def stored(tmp_path: Path) -> dict[str, Any]:
    with np.load(tmp_path / "explained" / "attributions.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("method", [OCCLUSION, SHAPLEY])
def test_of_a_linear_model_each_column_adds_its_weight_times_its_distance_from_the_mean(
    explained: Any, tmp_path: Path, method: str
) -> None:
    explained(linear(), DataSet("rows", {"x": ROWS}), method=method, rows=5, rounds=1)

    found = stored(tmp_path)
    expected = (ROWS[:5] - ROWS.mean(axis=0))[:, None, :] * WEIGHTS.T[None]
    assert found["attribution:y:x"] == pytest.approx(expected, abs=1e-4)
    assert found["answer:y"] == pytest.approx(ROWS[:5] @ WEIGHTS, abs=1e-4)
    assert found["usual:y"] == pytest.approx(ROWS.mean(axis=0) @ WEIGHTS, abs=1e-4)
    assert found["players:x"].tolist() == ["x[0]", "x[1]", "x[2]", "x[3]"]


def test_whole_numbers_and_texts_are_taken_away_by_what_is_most_frequent(explained: Any, tmp_path: Path) -> None:
    city = helper.make_tensor_value_info("city", TensorProto.STRING, ["batch", 1])
    model = model_of(
        [
            helper.make_node("LabelEncoder", ["city"], ["price"], domain="ai.onnx.ml", keys_strings=["a", "b"], values_floats=[1.0, 5.0]),
            helper.make_node("Add", ["price", "x"], ["y"]),
        ],
        [city, ("x", ["batch", 1])],
        [("y", ["batch", 1])],
        {},
    )  # fmt: skip
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    columns = {"city": np.array(["a", "a", "a", "b"], dtype=object)[::-1], "x": np.ones(4)}

    explained(model, DataSet("rows", columns), rows=2)

    assert stored(tmp_path)["attribution:y:city"].ravel().tolist() == [4, 0]
    assert stored(tmp_path)["attribution:y:x"].ravel().tolist() == [0, 0]


def test_of_a_picture_only_the_patch_that_is_looked_at_adds(explained: Any, tmp_path: Path) -> None:
    """The model sums the corner of 4 x 4 pixels of three colours."""
    mask = np.zeros((1, 3, 28, 28), np.float32)
    mask[:, :, :4, :4] = 1
    model = model_of(
        [
            helper.make_node("Mul", ["picture", "mask"], ["seen"]),
            helper.make_node("ReduceSum", ["seen", "axes"], ["y"], keepdims=0),
        ],
        [("picture", ["batch", 3, 28, 28])],
        [("y", ["batch"])],
        {"mask": mask, "axes": np.array([1, 2, 3])},
    )
    pictures = np.random.default_rng(0).random((3, 3, 28, 28), np.float32)

    explained(model, DataSet("pictures", {"picture": pictures}), method=OCCLUSION)

    found = stored(tmp_path)["attribution:y:picture"]
    assert found.shape == (3, 14, 14)
    assert np.abs(found[:, :2, :2]).min() > 0
    assert found[:, 2:].any() == found[:, :, 2:].any() == False  # noqa: E712 - all of the rest is zero
    page = (tmp_path / "explained" / "explanation.html").read_text()
    assert page.count("data:image/png;base64,") == 8  # the mean and three rows, each alone and with its patches


def test_a_model_without_batches_is_explained_row_by_row(explained: Any, tmp_path: Path) -> None:
    model = linear()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1

    explained(model, DataSet("rows", {"x": ROWS}), rows=2, method=OCCLUSION)

    found = stored(tmp_path)["attribution:y:x"]
    assert found.reshape(2, 3, 4) == pytest.approx((ROWS[:2] - ROWS.mean(axis=0))[:, None] * WEIGHTS.T[None], abs=1e-4)


def _one_at_a_time(shape: tuple[int, ...]) -> onnx.ModelProto:
    """The sum of one row of this shape."""
    axes = np.arange(1, len(shape) + 1)
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)]
    return model_of(nodes, [("x", [1, *shape])], [("y", [1])], {"axes": axes})


@pytest.mark.parametrize(
    ("shape", "players", "drawn"),
    [((3, 28, 28), (14, 14), 8), ((28, 28, 1), (14, 14), 8), ((10, 3), (10,), 0), ((4,), (4,), 0)],
    ids=["picture", "grey picture", "sequence", "columns"],
)
def test_what_a_row_is_does_not_change_with_a_batch_of_one(
    explained: Any, tmp_path: Path, shape: tuple[int, ...], players: tuple[int, ...], drawn: int
) -> None:
    rows = np.random.default_rng(0).random((3, *shape), np.float32)

    explained(_one_at_a_time(shape), DataSet("rows", {"x": rows}), method=OCCLUSION)

    found = stored(tmp_path)["attribution:y:x"]
    assert found.shape == (3, 1, *players)
    assert found.sum(axis=tuple(range(1, found.ndim))) == pytest.approx(
        rows.reshape(3, -1).sum(axis=1) - rows.mean(axis=0).sum(), abs=1e-2
    )
    page = (tmp_path / "explained" / "explanation.html").read_text()
    assert page.count("data:image/png;base64,") == drawn


def test_a_missing_value_hides_nothing_of_the_other_rows(explained: Any, tmp_path: Path) -> None:
    rows = ROWS.copy()
    rows[7, 0] = np.nan
    rows[:, 3] = 0

    explained(linear(), DataSet("rows", {"x": rows}), method=OCCLUSION, rows=3)

    usual = np.nanmean(rows, axis=0)
    expected = (rows[:3] - usual)[:, None, :] * WEIGHTS.T[None]
    assert stored(tmp_path)["attribution:y:x"] == pytest.approx(expected, abs=1e-4)


def test_more_parts_than_can_be_held_against_each_other_are_refused(explained: Any) -> None:
    rows = np.zeros((2, 40_000), np.float32)
    rows[1] = 1
    total = model_of(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)],
        [("x", ["batch", 40_000])],
        [("y", ["batch"])],
        {"axes": np.array([1])},
    )

    with pytest.raises(Invalid, match=r"1 rows with 40000 parts .* are too many to hold"):
        explained(total, DataSet("rows", {"x": rows}), rows=1)


class Balanced(HTMLParser):
    """Every element is closed, and nothing is fetched or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        assert not any(name.startswith("on") or name == "style" for name, _ in attrs)
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        return


def test_the_page_holds_everything_and_escapes_what_came_from_outside(explained: Any, tmp_path: Path) -> None:
    columns = {name: ROWS[:, at] for at, name in enumerate(["<script>", "b&c", "d", "e"])}

    explained(linear(), DataSet("<img src=x>", columns), rows=3)

    page = (tmp_path / "explained" / "explanation.html").read_text()
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert "&lt;script&gt; = " in page
    assert "default-src 'none'" in page


@pytest.mark.parametrize(
    ("fields", "columns", "message"),
    [
        ({"outputs": ("z",)}, ROWS, "there is no output 'z'"),
        ({}, ROWS[:, :3], r"it takes rows of \[4\], the data have \[3\]"),
        ({}, ROWS[:1], "one row is its own mean"),
        ({"picture": PictureForm(3, 3)}, ROWS, "a picture of 3x3 has 9"),
    ],
)
def test_what_cannot_be_explained_is_refused_and_leaves_nothing(
    explained: Any, tmp_path: Path, *, fields: dict[str, Any], columns: Any, message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        explained(linear(), DataSet("rows", {"x": columns}), **fields)

    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_model_that_only_gives_labels_is_refused(explained: Any) -> None:
    label = helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"])
    model = model_of(
        [helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0)], [("x", ["batch", 4])], [label], {}
    )

    with pytest.raises(Invalid, match="a label cannot be shared out"):
        explained(model, DataSet("rows", {"x": ROWS}))


def test_shap_names_its_extra_when_it_is_missing(explained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shap", None)

    with pytest.raises(MissingExtra, match="shap"):
        explained(linear(), DataSet("rows", {"x": ROWS}), method="shap")


class Kernel:
    """What is used of shap.KernelExplainer, for sums: as that one does, it keeps ten parts unless it is told not to."""

    def __init__(self, value: Callable[[Any], Any], nobody: Any) -> None:
        self._value, self._nobody = value, nobody

    def shap_values(self, everybody: Any, *, nsamples: int, l1_reg: Any = "num_features(10)", **_: Any) -> Any:
        players = everybody.shape[1]
        assert nsamples > 2 * players, "too few to tell the parts apart"
        shares = self._value(np.eye(players)) - self._value(self._nobody)
        kept = players if l1_reg is False else 10
        shares[np.argsort(-np.abs(shares[:, 0]))[kept:]] = 0
        return shares[None]


def test_every_part_gets_its_share_from_shap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shap", SimpleNamespace(KernelExplainer=Kernel))
    worth = np.arange(1.0, 1301.0)

    found = way_of(SHAP)(lambda takes_part: takes_part @ worth[:, None], 1300, 1, 0)

    assert found.shares[:, 0] == pytest.approx(worth)


def test_the_same_seed_gives_the_same_shares(explained: Any, tmp_path: Path) -> None:
    first = explained(linear(), DataSet("rows", {"x": ROWS}), rows=2)
    (tmp_path / "bundle").rename(tmp_path / "first")
    (tmp_path / "explained").rename(tmp_path / "before")

    again = explained(linear(), DataSet("rows", {"x": ROWS}), rows=2)

    assert all((a.shares == b.shares).all() for a, b in zip(first.each, again.each, strict=True))
