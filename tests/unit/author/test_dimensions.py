"""Names of dynamic dimensions: asked for, made readable, refused."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import pytest
from onnx import TensorProto, helper

from tidegate.author.dimensions import name_dimensions
from tidegate.errors import Invalid


def _model(inputs: dict[str, list[int | str | None]], outputs: dict[str, list[int | str | None]]) -> onnx.ModelProto:
    def values(tensors: dict[str, list[int | str | None]]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in tensors.items()]

    return helper.make_model(helper.make_graph([], "g", values(inputs), values(outputs)))


def _shapes(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    values = (*model.graph.input, *model.graph.output)
    return {
        value.name: [
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in value.type.tensor_type.shape.dim
        ]
        for value in values
    }


def test_counted_names_become_readable_everywhere() -> None:
    model = _model({"tokens": ["s77", "s27"], "mask": ["s77", "s27"]}, {"y": ["s77", "s27 + 1"]})

    told = name_dimensions(model, {})

    assert _shapes(model) == {
        "tokens": ["batch", "tokens_1"],
        "mask": ["batch", "tokens_1"],
        "y": ["batch", "tokens_1 + 1"],
    }
    assert told == ["the dimension 's77' is called 'batch'", "the dimension 's27' is called 'tokens_1'"]


def test_batches_that_an_exporter_counted_apart_become_one() -> None:
    model = _model({"a": ["unk__1", 3], "b": ["unk__2", 4]}, {"y": ["unk__3", "unk__4"]})

    name_dimensions(model, {})

    assert _shapes(model) == {"a": ["batch", 3], "b": ["batch", 4], "y": ["batch", "y_1"]}


def test_names_that_a_person_gave_stay() -> None:
    model = _model({"x": ["N", "length"]}, {"y": ["N"]})

    assert name_dimensions(model, {}) == []
    assert _shapes(model) == {"x": ["N", "length"], "y": ["N"]}


def test_asked_for_names_and_sizes_are_given() -> None:
    model = _model({"x": ["s77", None, "s1", 4]}, {"y": ["s77", "s1"]})

    name_dimensions(model, {"x": ("rows", "seq", 16, 4)})

    assert _shapes(model) == {"x": ["rows", "seq", 16, 4], "y": ["rows", 16]}


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("z", ("batch",), "there is no input 'z': the model's inputs are x"),
        ("x", ("batch",), "'x' has 3 dimensions, not 1"),
        ("x", ("batch", "seq", "wide"), "dimension 2 of 'x' is always 4 in this model, not 'wide': export"),
        ("x", ("batch", "seq", 5), "is always 4 in this model, not '5'"),
    ],
)
def test_what_the_graph_does_not_have_is_refused(name: str, sizes: Sequence[int | str], message: str) -> None:
    with pytest.raises(Invalid, match=f"--interface: .*{message}"):
        name_dimensions(_model({"x": ["s77", "s2", 4]}, {"y": ["s77"]}), {name: sizes})


def test_two_names_for_one_dimension_are_refused() -> None:
    with pytest.raises(Invalid, match="must be as large as the one called 'a': give both one name"):
        name_dimensions(_model({"x": ["s1", "s1"]}, {"y": ["s1"]}), {"x": ("a", "b")})
