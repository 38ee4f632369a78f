"""The interface-change rule, both ways between the versions that answer during a rollout."""

from __future__ import annotations

import pytest

from tidegate.bundle.errors import InterfaceChanged
from tidegate.bundle.interface import interface_changes, label_changes, require_compatible
from tidegate.bundle.manifest import Interface, TensorSpec

X = TensorSpec("x", "FP32", ("n", 4))
Y = TensorSpec("y", "FP32", ("n", 10))
STABLE = Interface((X,), (Y,))


@pytest.mark.parametrize(
    "candidate",
    [
        STABLE,
        Interface((TensorSpec("x", "FP32", ("rows", 4)),), (Y,)),
        Interface((TensorSpec("x", "FP32", ("n", "features")),), (Y,)),
        Interface((X, TensorSpec("mask", "BOOL", ("n",), optional=True)), (Y,)),
        Interface((X,), (Y, TensorSpec("extra", "FP32", ("n",)))),
    ],
)
def test_what_clients_do_not_notice_is_no_change(candidate: Interface) -> None:
    assert interface_changes(STABLE, candidate) == []


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        (Interface((), (Y,)), "input 'x' is gone"),
        (Interface((X, TensorSpec("z", "FP32", ("n",))), (Y,)), "input 'z' is new and required"),
        (Interface((TensorSpec("x", "FP64", ("n", 4)),), (Y,)), "was FP32 and is FP64"),
        (Interface((TensorSpec("x", "FP32", ("n", 5)),), (Y,)), "dimension 1: was 4 and is 5"),
        (Interface((TensorSpec("x", "FP32", (1, 4)),), (Y,)), r"was dynamic \(n\) and is 1"),
        (Interface((TensorSpec("x", "FP32", ("n",)),), (Y,)), "had 2 dimensions and has 1"),
        (Interface((X,), (TensorSpec("y", "FP32", ("n", 12)),)), "was 10 and is 12"),
        (Interface((X,), (TensorSpec("y", "FP32", ("n", "classes")),)), "was 10 and is dynamic"),
        (Interface((X,), (TensorSpec("other", "FP32", ("n", 10)),)), "output 'y' is gone"),
    ],
)
def test_what_clients_would_trip_over_is_a_change_with_a_sentence(candidate: Interface, message: str) -> None:
    with pytest.raises(InterfaceChanged, match=message):
        require_compatible(STABLE, candidate)


def test_an_optional_input_must_not_become_required() -> None:
    stable = Interface((X, TensorSpec("mask", "BOOL", ("n",), optional=True)), (Y,))
    candidate = Interface((X, TensorSpec("mask", "BOOL", ("n",))), (Y,))

    assert interface_changes(stable, candidate) == ["input 'mask' was optional and is required"]


def test_labels_may_only_grow_at_the_end() -> None:
    assert label_changes(["cat", "dog"], ["cat", "dog", "eel"]) == []
    assert label_changes(["cat", "dog"], ["dog", "cat"]) == ["label 0 was 'cat' and is 'dog'"]
    assert label_changes(["cat", "dog"], ["cat"]) == ["2 labels became 1"]
