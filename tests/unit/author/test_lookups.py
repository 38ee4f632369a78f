"""How many integers an input may hold, told from the tables that the graph looks them up in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from tidegate.author.lookups import table_keys, table_sizes


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


def encoder(given: str, **attributes: Any) -> NodeProto:
    return helper.make_node("LabelEncoder", [given], [f"{given}_found"], domain="ai.onnx.ml", **attributes)


def test_a_table_of_integers_says_which_are_looked_up_and_some_that_are_not() -> None:
    nodes = [
        helper.make_node("Cast", ["tokens"], ["wide"], to=TensorProto.INT64),
        encoder("wide", keys_int64s=[3, 7], values_int64s=[1, 2], default_int64=0),
        encoder("types", keys_int64s=[3, 7], values_strings=["a", "b"], default_string="?"),
    ]

    assert {name: sorted(drawn) for name, drawn in table_keys(graph(*nodes)).items()} == {
        "tokens": [-1, 0, 2, 3, 7, 8],
        "types": [-1, 0, 2, 3, 7, 8],
    }


@pytest.mark.parametrize("default", [{"default_int64": -1}, {}])
def test_where_others_must_not_come_only_keys_are_drawn(default: dict[str, int]) -> None:
    found = table_keys(graph(encoder("tokens", keys_int64s=[3, 7], values_int64s=[1, 2], **default)))

    assert found == {"tokens": [3, 7]}


@pytest.mark.parametrize(("asked", "drawn"), [(-1, [-1, 0, 2, 3, 7, 8]), (1, [3, 7])])
def test_others_are_drawn_where_the_graph_asks_whether_one_came(asked: int, drawn: list[int]) -> None:
    nodes = [
        encoder("tokens", keys_int64s=[3, 7], values_int64s=[1, 2], default_int64=-1),
        helper.make_node("Cast", ["tokens_found"], ["place"], to=TensorProto.INT32),
        helper.make_node("Equal", ["place", "asked"], ["y"]),
    ]
    made = graph(*nodes)
    made.initializer.append(numpy_helper.from_array(np.array(asked, np.int32), "asked"))

    assert sorted(table_keys(made)["tokens"]) == drawn


def test_of_a_large_table_one_draw_in_nine_is_of_no_key() -> None:
    keys = list(range(10, 1610))

    (drawn,) = table_keys(graph(encoder("tokens", keys_int64s=keys, values_int64s=keys, default_int64=0))).values()

    assert len(drawn) - len(keys) == 200


def test_the_ends_of_what_an_integer_can_hold_have_no_neighbours() -> None:
    ends = [-(2**63), 2**63 - 1]

    (drawn,) = table_keys(graph(encoder("tokens", keys_int64s=ends, values_int64s=[1, 2], default_int64=0))).values()

    assert sorted(drawn) == [ends[0], -1, 0, ends[1]]


def test_words_are_no_integers() -> None:
    assert table_keys(graph(encoder("tokens", keys_strings=["a"], values_int64s=[1], default_int64=0))) == {}
