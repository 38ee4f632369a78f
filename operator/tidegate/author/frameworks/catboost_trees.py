"""CatBoost's own ONNX, a single node of trees and a ZipMap, as a step like any other: the node moves into its graph."""

from __future__ import annotations

import json
from typing import Any

import onnx

CLASSES = "class_params"  # where a model keeps the names of its classes, as JSON


def convert(scope: Any, operator: Any, container: Any) -> None:
    """The estimator of `operator` as a node in `container`."""
    from catboost.utils import convert_to_onnx_object

    made = convert_to_onnx_object(_exportable(operator.raw_operator))
    (trees,) = [node for node in made.graph.node if node.op_type.startswith("TreeEnsemble")]
    container.add_node(
        trees.op_type,
        [operator.inputs[0].full_name],
        [output.full_name for output in operator.outputs],
        name=scope.get_unique_operator_name(trees.op_type),
        op_domain=trees.domain,
        op_version={entry.domain: entry.version for entry in made.opset_import}[trees.domain],
        **{attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in trees.attribute},
    )


def _exportable(model: Any) -> Any:
    """The model; one whose classes are false and true, which CatBoost does not export, as another of 0 and 1."""
    classes = json.loads(model.get_metadata().get(CLASSES, "{}"))
    if classes.get("class_label_type") != "Boolean":
        return model
    numbered = type(model)()
    numbered.load_model(blob=model._serialize_model())
    names = [int(name) for name in classes["class_names"]]
    numbered.get_metadata()[CLASSES] = json.dumps({**classes, "class_label_type": "Integer", "class_names": names})
    return numbered
