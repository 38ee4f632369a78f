"""Whether a file's weights fit a module, key by key; nothing here needs torch."""

from __future__ import annotations

import pytest

from tidegate.author.frameworks.torch.weights import fit
from tidegate.errors import Invalid

WANTED = {"body.weight": (4, 3), "body.bias": (4,), "norm.num_batches_tracked": ()}
FILE = "weights.pt"


def given(**changed: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {"body.weight": (4, 3), "body.bias": (4,)} | changed


def test_weights_that_fit_go_where_they_are_named_for() -> None:
    found = fit(WANTED, given(), {}, FILE)

    assert dict(found.keys) == {"body.weight": "body.weight", "body.bias": "body.bias"}
    assert found.cure == ""


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.module."])
def test_the_prefix_of_a_wrapper_is_left_out_and_told(prefix: str) -> None:
    found = fit(WANTED, {prefix + key: shape for key, shape in given().items()}, {}, FILE)

    assert found.keys["body.bias"] == f"{prefix}body.bias"
    assert found.cure == f"the keys of {FILE} begin with '{prefix}', which was left out"


def test_what_is_missing_is_named() -> None:
    with pytest.raises(Invalid, match=r"there is nothing for 'body.bias'"):
        fit(WANTED, {"body.weight": (4, 3)}, {}, FILE)


def test_what_is_left_over_is_named() -> None:
    with pytest.raises(Invalid, match=r"the model has no 'head.weight'"):
        fit(WANTED, given() | {"head.weight": (2, 4)}, {}, FILE)


def test_another_shape_is_named_with_both() -> None:
    with pytest.raises(Invalid, match=r"'body.weight' has the shape \(4, 5\), the model's is \(4, 3\)"):
        fit(WANTED, given() | {"body.weight": (4, 5)}, {}, FILE)


def test_of_many_missing_keys_the_first_few_are_named() -> None:
    wanted = {f"layer{number}.weight": (1,) for number in range(9)}

    with pytest.raises(Invalid, match=r"'layer3.weight' and 5 more"):
        fit(wanted, {}, {}, FILE)


def test_of_tied_weights_one_is_enough() -> None:
    wanted = {"embedding.weight": (9, 3), "head.weight": (9, 3)}
    twins = {
        "embedding.weight": ["embedding.weight", "head.weight"],
        "head.weight": ["embedding.weight", "head.weight"],
    }

    assert dict(fit(wanted, {"head.weight": (9, 3)}, twins, FILE).keys) == {"head.weight": "head.weight"}
