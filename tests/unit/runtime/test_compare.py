"""Two versions' answers are compared as the rules say, whatever comes; shadowed requests travel unchanged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.bundle.manifest import TensorSpec
from tidegate_runtime.compare import OutputRule, Rules, differences, differs_in_all
from tidegate_runtime.internal_documents import BadDocument, read_golden, read_rules, read_target
from tidegate_runtime.shadow_wire import Malformed, Shadowed, pack, unpack

SPECS = {
    "scores": TensorSpec("scores", "FP32", ("N", 3)),
    "price": TensorSpec("price", "FP32", ("N",)),
    "label": TensorSpec("label", "INT64", ("N",)),
    "name": TensorSpec("name", "BYTES", ("N",)),
}
RULES = Rules(top1=True, outputs=(OutputRule("scores", 0.01, 0.0), OutputRule("name", 0.0, 0.0)))


def scores(*rows: tuple[float, ...]) -> Any:
    return np.array(rows, np.float32)


def found(expected: dict[str, Any], actual: dict[str, Any], rules: Rules = RULES) -> Any:
    return differences(rules, expected, actual, SPECS)


def test_equal_answers_differ_in_nothing() -> None:
    answer = {"scores": scores((0.1, 0.9, np.nan)), "name": np.array(["a"], object)}

    same = found(answer, answer)

    assert (same.top1, same.outputs) == (False, {"scores": (False, 0.0), "name": (False, 0.0)})


def test_another_first_class_in_any_row_counts_once() -> None:
    before = {"scores": scores((0.1, 0.9, 0), (0.9, 0.1, 0))}
    after = {"scores": scores((0.1, 0.9, 0), (0.4, 0.5, 0))}

    assert found(before, after).top1 is True
    assert found(before, after, Rules(top1=False)).top1 is False


def test_a_distance_beyond_its_tolerance_differs_and_is_kept() -> None:
    moved = found({"scores": scores((0.1, 0.9, 0))}, {"scores": scores((0.1, 0.95, 0))})

    assert moved.top1 is False
    assert moved.outputs["scores"][0] is True
    assert moved.outputs["scores"][1] == pytest.approx(0.05, abs=1e-6)


def test_an_output_without_a_rule_only_tells_its_distance() -> None:
    assert found({"price": scores(1.0, 2.0)}, {"price": scores(1.0, 4.0)}).outputs == {"price": (False, 2.0)}  # type: ignore[arg-type]


def test_prices_of_several_rows_are_no_classes() -> None:
    assert found({"price": scores(1.0, 2.0)}, {"price": scores(3.0, 2.0)}).top1 is False  # type: ignore[arg-type]


def test_another_label_is_another_first_class() -> None:
    assert found({"label": np.array([1, 2])}, {"label": np.array([1, 3])}).top1 is True


@pytest.mark.parametrize(
    "actual", [{}, {"scores": scores((0.1, 0.9))}, {"scores": np.array([["a", "b", "c"]], object)}]
)
def test_a_missing_output_or_another_shape_differs_in_everything(actual: dict[str, Any]) -> None:
    moved = found({"scores": scores((0.1, 0.9, 0))}, actual)

    assert moved.top1 is True
    assert moved.outputs["scores"][0] is True


def test_an_infinite_distance_stays_a_number_that_json_knows() -> None:
    moved = found({"scores": scores((0.1, 0.9, 0))}, {"scores": scores((np.inf, np.nan, 0))})

    assert moved.outputs["scores"][0] is True
    assert math.isfinite(moved.outputs["scores"][1])


def test_no_answer_differs_in_every_rule() -> None:
    assert differs_in_all(RULES).outputs == {"scores": (True, 0.0), "name": (True, 0.0)}
    assert differs_in_all(RULES).top1 is True


def test_a_shadowed_request_arrives_as_it_was_sent() -> None:
    outputs = {"scores": scores((0.1, 0.9, 0)), "name": np.array([["grün", ""]], object), "none": np.zeros((0, 2))}

    arrived = unpack(pack(Shadowed(b"\x00body", 2, outputs)))

    assert (arrived.body, arrived.header_length) == (b"\x00body", 2)
    assert {name: (array.dtype, array.tolist()) for name, array in arrived.outputs.items()} == {
        name: (array.dtype, array.tolist()) for name, array in outputs.items()
    }


@given(st.binary(max_size=200) | st.binary(max_size=64).map(lambda tail: pack(Shadowed(b"x", None, {}))[:-1] + tail))
def test_any_other_bytes_are_refused_with_a_sentence(content: bytes) -> None:
    try:
        unpack(content)
    except Malformed as refused:
        assert str(refused).startswith("not a shadowed request")


def test_rules_targets_and_wishes_are_read() -> None:
    rules = read_rules(b'{"top1": true, "outputs": [{"name": "scores", "atol": 0.1, "rtol": 0}]}')
    target = read_target(b'{"target": "http://127.0.0.1:9090", "percent": 10, "ttlSeconds": 30, "token": "t"}')
    wish = read_golden(b'{"rate": 2.5, "count": 25}')

    assert rules == Rules(True, (OutputRule("scores", 0.1, 0.0),))
    assert target is not None
    assert (target.host, target.port, target.share) == ("127.0.0.1", 9090, 0.1)
    assert "token" not in repr(target)
    assert (wish.rate, wish.count) == (2.5, 25)
    assert read_target(b'{"percent": 0}') is None


@pytest.mark.parametrize(
    ("read", "body", "sentence"),
    [
        (read_rules, b"[]", "JSON object"),
        (read_rules, b"{", "not JSON"),
        (read_rules, b'{"top2": true}', "unknown field 'top2'"),
        (read_rules, b'{"top1": 1}', "true or false"),
        (read_rules, b'{"outputs": [{"name": 1}]}', "name must be text"),
        (read_rules, b'{"outputs": [{"name": "x", "atol": -1}]}', "atol must be a number"),
        (read_golden, b'{"rate": 0, "count": 1}', "rate must be"),
        (read_golden, b'{"rate": 1, "count": 1.5}', "whole number"),
        (read_golden, b'{"rate": 1, "count": true}', "count must be"),
        (read_target, b'{"percent": 101}', "percent must be"),
        (read_target, b'{"percent": 1, "target": "http://example.com:80", "ttlSeconds": 1}', "numeric address"),
        (read_target, b'{"percent": 1, "target": "https://127.0.0.1:80", "ttlSeconds": 1}', "nothing more"),
        (read_target, b'{"percent": 1, "target": "http://127.0.0.1:80/x", "ttlSeconds": 1}', "nothing more"),
        (read_target, b'{"percent": 1, "target": "http://127.0.0.1", "ttlSeconds": 1}', "nothing more"),
        (read_target, b'{"percent": 1, "target": "http://169.254.169.254:80", "ttlSeconds": 1}', "address of a server"),
        (read_target, b'{"percent": 1, "target": "http://127.0.0.1:80", "ttlSeconds": 1e9}', "ttlSeconds must be"),
        (read_target, b'{"percent": 1, "target": "http://127.0.0.1:80", "ttlSeconds": 1, "token": "a\\nb"}', "token"),
    ],
)
def test_documents_that_mean_nothing_are_refused_by_field(read: Any, body: bytes, sentence: str) -> None:
    with pytest.raises(BadDocument, match=sentence):
        read(body)
