"""What is rewritten of boosted trees before and after the public converter, as far as that needs no library of them."""

from __future__ import annotations

from typing import Any

import onnx
import pytest

from tidegate.author.frameworks import ConversionFailed
from tidegate.author.frameworks.lightgbm_trees import _average, require_zeros_count
from tidegate.author.frameworks.xgboost_trees import (
    _add_up,
    _as_sum,
    _one_number_per_leaf,
    _up_to_best,
    _with_probabilities,
    _without_drops,
)


def _stump(**fields: Any) -> dict[str, Any]:
    """A root with two leaves."""
    return {
        "tree_param": {"size_leaf_vector": "1", "num_nodes": "3"},
        "left_children": [1, -1, -1],
        "right_children": [2, -1, -1],
        "split_conditions": [0.25, -1.0, 2.0],
        **fields,
    }


def _learner(trees: list[dict[str, Any]], starts: list[int], **attributes: str) -> dict[str, Any]:
    model = {
        "trees": [{**tree, "id": number} for number, tree in enumerate(trees)],
        "tree_info": [0] * len(trees),
        "iteration_indptr": starts,
        "gbtree_model_param": {"num_trees": str(len(trees))},
    }
    objective = {"name": "reg:squarederror"}
    return {"attributes": attributes, "objective": objective, "gradient_booster": {"name": "gbtree", "model": model}}


def _dart(*, nested: bool) -> dict[str, Any]:
    """As XGBoost 3.2 writes it, nested, and as 3.4 does."""
    learner = _learner([_stump(), _stump()], [0, 1, 2])
    gbtree, weights = learner["gradient_booster"], [1.0, 0.5]
    if nested:
        return {"gradient_booster": {"name": "dart", "gbtree": gbtree, "weight_drop": weights}}
    gbtree["model"]["weight_drop"] = weights
    return learner


@pytest.mark.parametrize("nested", [True, False])
def test_the_leaves_of_dart_are_weighed_and_thresholds_are_not(nested: bool) -> None:
    learner = _dart(nested=nested)

    _without_drops(learner)

    assert learner["gradient_booster"]["name"] == "gbtree"
    model = learner["gradient_booster"]["model"]
    assert [tree["split_conditions"] for tree in model["trees"]] == [[0.25, -1.0, 2.0], [0.25, -0.5, 1.0]]
    assert "weight_drop" not in model


def test_what_was_trained_after_the_best_iteration_is_left_out() -> None:
    learner = _learner([_stump()] * 6, [0, 2, 4, 6], best_iteration="1", best_score="0.5")

    _up_to_best(learner)

    model = learner["gradient_booster"]["model"]
    assert [tree["id"] for tree in model["trees"]] == [0, 1, 2, 3]
    assert (model["iteration_indptr"], len(model["tree_info"])) == ([0, 2, 4], 4)
    assert model["gbtree_model_param"] == {"num_trees": "4"}
    assert "best_iteration" not in learner["attributes"]


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param({"base_weights": [0, 0, 1, 2, 3, 4]}, id="in all nodes"),
        pytest.param(
            {"base_weights": [0, 0, 0], "leaf_weights": [3, 4, 1, 2], "right_children": [2, 1, 0]}, id="of leaves"
        ),
    ],
)
def test_a_tree_for_two_targets_becomes_a_tree_for_each(numbers: dict[str, Any]) -> None:
    tree = _stump(tree_param={"size_leaf_vector": "2", "num_nodes": "3"}, **numbers)
    learner = _learner([tree, tree], [0, 1, 2])

    _one_number_per_leaf(learner)

    model = learner["gradient_booster"]["model"]
    first, second = [[0.25, 1.0, 3.0], [0.25, 2.0, 4.0]]
    assert [tree["split_conditions"] for tree in model["trees"]] == [first, second, first, second]
    assert all(tree["right_children"] == [2, -1, -1] for tree in model["trees"])
    assert all(tree["tree_param"]["size_leaf_vector"] == "1" for tree in model["trees"])
    assert (model["tree_info"], model["iteration_indptr"]) == ([0, 1, 0, 1], [0, 2, 4])
    assert [tree["id"] for tree in model["trees"]] == [0, 1, 2, 3]
    assert model["gbtree_model_param"] == {"num_trees": "4"}


def test_plain_trees_are_left_as_they_are() -> None:
    learner = _learner([_stump()], [0, 1])

    for rewrite in (_without_drops, _up_to_best, _one_number_per_leaf, _with_probabilities):
        rewrite(learner)

    assert learner == _learner([_stump()], [0, 1])


def _ensemble(**attributes: Any) -> onnx.NodeProto:
    return onnx.helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", **attributes)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def test_every_tree_adds_to_its_own_target() -> None:
    node = _ensemble(target_treeids=[0, 0, 1, 2], target_ids=[0, 0, 0, 0], n_targets=2)

    _add_up([1, 0, 1], [node])

    assert _attributes(node)["target_ids"] == [1, 1, 0, 1]


def test_a_sum_before_a_sigmoid_begins_at_the_logit_of_the_base_score() -> None:
    node = _ensemble(base_values=[0.5, 0.75])

    _as_sum(node)

    assert _attributes(node)["base_values"] == pytest.approx([0.0, 1.0986123], abs=1e-6)


def test_a_forest_gives_the_mean_of_its_iterations() -> None:
    node = _ensemble(nodes_treeids=[0, 0, 1, 2, 3], target_weights=[1.0, 2.0, 3.0, 4.0])

    _average([node], 2)  # two trees for two classes in each iteration

    assert _attributes(node)["target_weights"] == [0.5, 1.0, 1.5, 2.0]


def test_zeros_that_stand_for_what_is_missing_are_refused_wherever_a_node_says_so() -> None:
    trees = "Tree=0\nsplit_feature=0 1\ndecision_type={}\n\nTree=1\nsplit_feature=0 1\ndecision_type=8 2\n"
    require_zeros_count(trees.format("2 10"), "the model")  # none, and NaN

    with pytest.raises(
        ConversionFailed, match=r"^LGBMRegressor: .* zero_as_missing, .*: write NaN for what is missing"
    ):
        require_zeros_count(trees.format("2 6"), "LGBMRegressor")
