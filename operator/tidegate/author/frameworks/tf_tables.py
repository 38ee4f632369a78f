"""TensorFlow's lookup tables as ONNX: tf2onnx knows those from texts to whole numbers, and no other.

ONNX has one operator for all that are left, LabelEncoder of `ai.onnx.ml`, with a default for keys that are in no table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import TensorProto

from tidegate.author.session import Array

LOOKUP = "LookupTableFindV2"
DOMAIN = "ai.onnx.ml"
# By numpy's kind of a table's type: how the attributes of LabelEncoder are called, and what it computes with.
KINDS: Mapping[str, tuple[str, int]] = {
    "S": ("string", TensorProto.STRING),
    "i": ("int64", TensorProto.INT64),
    "f": ("float", TensorProto.FLOAT),
}
KEYS = "Si"
Tables = Mapping[bytes, tuple[Array, Array]]  # by their shared name


def other_tables(tables: Tables) -> Callable[[Any, Any], Any]:
    """A step for tf2onnx, before its own, that puts LabelEncoders in the place of lookups it does not know.

    A lookup without such a form is left where it is, for tf2onnx to name.
    """

    def rewritten(graph: Any, nodes: Any) -> Any:
        for node in list(nodes):
            if node.type == LOOKUP and (found := tables.get(_shared_name(node))) is not None:
                _replace(graph, node, *found)
        return graph.get_nodes()

    return rewritten


def encoder(keys: Array, values: Array, default: Any) -> dict[str, Any] | None:
    """The attributes of a LabelEncoder for this table, its keys in their own order; None where there is no such."""
    key, value = _kind(keys), _kind(values)
    if key not in KEYS or value not in KINDS or values.dtype == np.float64 or not keys.size:
        return None  # LabelEncoder has numbers of 32 bits behind the point, and no empty tables
    rows = sorted(zip(keys.tolist(), values.tolist(), strict=True))
    by, to = KINDS[key][0], KINDS[value][0]
    return {
        f"keys_{by}s": [name for name, _ in rows],
        f"values_{to}s": [found for _, found in rows],
        f"default_{to}": default,
    }


def _kind(array: Array) -> str:
    """NumPy's letter for what a column of a table holds; texts are objects in what TensorFlow gives."""
    return "S" if array.dtype == object else array.dtype.kind


def _replace(graph: Any, node: Any, keys: Array, values: Array) -> None:
    if _tf2onnx_knows(keys, values) or not node.inputs[2].is_const():
        return
    default = np.asarray(node.inputs[2].get_tensor_value(as_list=False))
    attributes = encoder(keys, values, default.item()) if default.size == 1 else None
    if attributes is None:
        return
    given, answer = node.input[1], node.output[0]
    shape, here = graph.get_shape(given), graph.get_dtype(answer)
    wide = KINDS[_kind(values)][1]
    graph.remove_node(node.name)
    if _kind(keys) == "i":
        given = _cast(graph, given, TensorProto.INT64, f"{node.name}_keys", shape)
    made = answer if here == wide else f"{answer}_wide"
    graph.make_node(
        "LabelEncoder",
        [given],
        outputs=[made],
        name=node.name,
        attr=attributes,
        domain=DOMAIN,
        shapes=[shape],
        dtypes=[wide],
    )
    if made != answer:
        graph.make_node("Cast", [made], attr={"to": here}, outputs=[answer], shapes=[shape], dtypes=[here])


def _cast(graph: Any, name: str, to: int, made: str, shape: Any) -> str:
    """The tensor in another type, unless it is of that type."""
    if graph.get_dtype(name) == to:
        return name
    graph.make_node("Cast", [name], attr={"to": to}, outputs=[made], name=made, shapes=[shape], dtypes=[to])
    return made


def _tf2onnx_knows(keys: Array, values: Array) -> bool:
    return keys.dtype == object and values.dtype == np.int64


def _shared_name(lookup: Any) -> bytes:
    table = lookup.inputs[0]
    while table.type == "Identity":
        table = table.inputs[0]
    return table.get_attr_value("shared_name") or b""
