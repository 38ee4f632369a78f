"""How many integers an input may hold, told from the tables that the graph looks them up in."""

from __future__ import annotations

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from tidegate.author.lookups import table_sizes


def graph(*nodes: NodeProto) -> GraphProto:
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "n"]) for name in ("tokens", "types")]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    tables = [numpy_helper.from_array(np.zeros((rows, 3), np.float32), f"table{rows}") for rows in (50, 9, 2)]
    return helper.make_graph(list(nodes), "g", inputs, [output], tables)


def test_an_embedding_says_how_many_tokens_there_are() -> None:
    nodes = [
        helper.make_node("Gather", ["table50", "tokens"], ["a"]),
        helper.make_node("Cast", ["types"], ["plain"], to=TensorProto.INT32),
        helper.make_node("Gather", ["table2", "plain"], ["y"]),
    ]

    assert table_sizes(graph(*nodes)) == {"tokens": 50, "types": 2}


def test_the_smallest_of_several_tables_counts() -> None:
    nodes = [helper.make_node("Gather", [table, "tokens"], [f"of_{table}"]) for table in ("table50", "table9")]

    assert table_sizes(graph(*nodes)) == {"tokens": 9}


def test_integers_that_are_computed_with_say_nothing() -> None:
    nodes = [
        helper.make_node("Add", ["tokens", "types"], ["sum"]),
        helper.make_node("Gather", ["table50", "sum"], ["a"]),
        helper.make_node("Gather", ["table50", "types"], ["y"], axis=1),
    ]

    assert table_sizes(graph(*nodes)) == {}
