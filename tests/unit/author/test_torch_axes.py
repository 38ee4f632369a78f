"""Which dimensions of a PyTorch model stay open, and what they are called; nothing here needs torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tidegate.author.frameworks.torch import axes
from tidegate.errors import Invalid


def open_axes(wanted: dict[str, Any] | None = None, **arrays: Any) -> axes.Names:
    return axes.open_axes(axes.shapes_of(arrays), wanted or {})


def test_the_batch_is_open_and_the_sizes_of_pictures_are_not() -> None:
    assert open_axes(picture=np.zeros((4, 3, 8, 8), np.float32)) == {"picture": {0: "batch"}}


def test_the_length_is_open_for_token_ids_and_for_series() -> None:
    names = open_axes(tokens=np.zeros((4, 7), np.int64), series=np.zeros((4, 7, 3), np.float32))

    assert names == {"tokens": {0: "batch", 1: "sequence"}, "series": {0: "batch", 1: "sequence"}}


def test_a_matrix_of_numbers_has_no_length() -> None:
    assert open_axes(numbers=np.zeros((4, 7), np.float32)) == {"numbers": {0: "batch"}}


def test_two_lengths_have_two_names() -> None:
    names = open_axes(source=np.zeros((4, 7), np.int64), target=np.zeros((4, 5), np.int64))

    assert names["target"] == {0: "batch", 1: "target_sequence"}


def test_an_input_that_has_other_rows_is_no_part_of_the_batch() -> None:
    assert open_axes(x=np.zeros((4, 7), np.float32), table=np.zeros((9, 2), np.float32))["table"] == {}


def test_what_interface_says_counts_and_nothing_else_of_that_input() -> None:
    names = open_axes({"x": (4, 3, "height", "width")}, x=np.zeros((4, 3, 8, 8), np.float32))

    assert names == {"x": {2: "height", 3: "width"}}


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"y": ("batch", 8)}, "there is no input 'y': the model's inputs are x"),
        ({"x": ("batch", 8, 8)}, "'x' has 2 dimensions in the example, not 3"),
        ({"x": ("batch", 9)}, "dimension 1 of 'x' is 8 in the example, not 9"),
    ],
)
def test_an_interface_that_the_example_contradicts_is_refused(wanted: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid, match=told):
        open_axes(wanted, x=np.zeros((4, 8), np.float32))


def test_another_size_repeats_or_cuts_every_input_of_that_dimension() -> None:
    example = {"a": np.arange(6).reshape(2, 3), "b": np.arange(2)}
    names = {"a": {0: "batch", 1: "sequence"}, "b": {0: "batch"}}

    larger = axes.resized(example, names, "batch", 3)
    shorter = axes.resized(example, names, "sequence", 2)

    assert [larger["a"].shape, larger["b"].tolist()] == [(3, 3), [0, 1, 0]]
    assert [shorter["a"].tolist(), shorter["b"].shape] == [[[0, 1], [3, 4]], (2,)]


def graph(inputs: list[Any], output: list[Any]) -> onnx.ModelProto:
    node = helper.make_node("Identity", ["x"], ["y"])
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", inputs), ("y", output))
    ]
    return helper.make_model(helper.make_graph([node], "g", tensors[:1], tensors[1:]))


def dims(value: Any) -> list[Any]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_the_exporters_symbols_become_names_in_outputs_and_expressions() -> None:
    model = graph(["s77", "s27", 3], ["s77", "2*s27 + 1"])

    axes.call_by_name(model, {"x": {0: "batch", 1: "sequence"}})

    assert dims(model.graph.input[0]) == ["batch", "sequence", 3]
    assert dims(model.graph.output[0]) == ["batch", "2*sequence + 1"]


def test_a_dimension_that_the_exporter_closed_is_seen_also_where_it_wrote_a_number_as_a_name() -> None:
    model = graph(["s77", "7", 8], ["s77", 4])
    names = {"x": {0: "batch", 1: "sequence", 2: "features"}}

    closed = axes.closed_in(model, names)
    axes.fix(model, closed[0])

    assert [(fixed.axis, fixed.called, fixed.size) for fixed in closed] == [(1, "sequence", 7), (2, "features", 8)]
    assert model.graph.input[0].type.tensor_type.shape.dim[1].dim_value == 7


def test_an_output_is_not_called_like_an_input() -> None:
    assert axes.unnamed_outputs(["x", "scores"], ["x"]) == ["x_out", "scores"]
