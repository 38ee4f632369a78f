"""Models that a GPU takes long to get used to another number of rows of: every run has as many, and nobody notices."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Running
from tests.runtime.gpu.loading import Load, run
from tests.runtime.gpu.pretended import PretendedGpu

from tidegate_runtime import warmup
from tidegate_runtime.batching import decide
from tidegate_runtime.gpu.steady import Steady, steady_rows
from tidegate_runtime.watchdog import RunLane

SLOW = 0.02  # seconds for another number of rows: long for this model, and for no test


def rows(count: int) -> Any:
    return np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("costs", "change", "wanted"),
    [
        ({1: 0.0020, 8: 0.0021, 32: 0.0021}, 0.080, 32),  # the small model on an H200: 32 rows cost what one does
        ({1: 0.0018, 8: 0.0026, 32: 0.0082}, 0.060, 8),  # the medium one
        ({1: 0.0018, 2: 0.0036}, 0.060, 1),
        ({1: 0.0018, 8: 0.0026}, 0.001, 0),
        ({1: 0.1, 8: 0.11}, 0.060, 0),  # beside a run of a tenth of a second it is little
    ],
)
def test_as_many_rows_as_cost_little_more_than_one(costs: dict[int, float], change: float, wanted: int) -> None:
    assert steady_rows(costs, change) == wanted


def test_after_the_warm_up_every_run_has_the_same_rows_and_the_answers_are_each_rows_own(
    gpu: PretendedGpu, load: Load, lane: RunLane
) -> None:
    gpu.change_seconds = SLOW
    model = load(small.linear(), (), "--max-batch-size", "8")
    gpu.sizes.clear()

    kept = model.most_together

    for count in (1, kept, 2 * kept, 2 * kept + 1):
        scores, label = run(model, lane, rows(count))
        assert np.allclose(scores, rows(count) @ small.WEIGHTS, atol=1e-5)
        assert label.tolist() == (rows(count) @ small.WEIGHTS).argmax(-1).tolist()

    assert gpu.sizes == [((kept, 4),)] * (1 + 1 + 2 + 3)
    assert decide(model, 8).rows == kept > 1


def test_each_of_several_sessions_knows_the_rows_before_it_is_ready(gpu: PretendedGpu, load: Load) -> None:
    gpu.change_seconds = SLOW

    kept = load(small.linear(), (), "--max-batch-size", "8", "--sessions", "3").most_together

    assert [session.last for session in gpu.sessions] == [((kept, 4),)] * 3


def test_where_more_rows_cost_more_every_row_has_a_run_of_its_own(
    gpu: PretendedGpu, load: Load, lane: RunLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warmup, "steady_rows", lambda _costs, _change: 1)
    model = load(small.linear(), (), "--max-batch-size", "8")
    gpu.sizes.clear()

    scores, _ = run(model, lane, rows(3))

    assert gpu.sizes == [((1, 4),)] * 3
    assert np.allclose(scores, rows(3) @ small.WEIGHTS, atol=1e-5)
    assert (decide(model, 8).rows, decide(model, 8).code) == (1, "NoGain")


def test_a_gpu_that_does_not_mind_runs_the_rows_that_there_are(gpu: PretendedGpu, load: Load, lane: RunLane) -> None:
    model = load(small.linear(), (), "--max-batch-size", "8")
    gpu.sizes.clear()

    run(model, lane, rows(3))

    assert gpu.sizes == [((3, 4),)]


def test_rows_that_depend_on_each_other_are_never_filled_up(gpu: PretendedGpu, load: Load, lane: RunLane) -> None:
    gpu.change_seconds = SLOW
    model = load(small.mixing_rows(), (), "--max-batch-size", "8")
    gpu.sizes.clear()

    [found] = run(model, lane, rows(3))

    assert gpu.sizes == [((3, 4),)]
    assert np.allclose(found.sum(axis=0), 1)


def test_feeds_without_a_row_for_each_row_and_no_rows_at_all_are_run_as_they_are() -> None:
    seen: list[dict[str, tuple[int, ...]]] = []

    def record(_names: list[str], feeds: dict[str, Any], _options: Any) -> list[Any]:
        seen.append({name: array.shape for name, array in feeds.items()})
        return [feeds["x"]]

    steady = Steady(record, 4)
    for feeds in ({"x": rows(3), "scale": np.ones(1, np.float32)}, {"x": rows(3), "t": np.array(1)}, {"x": rows(0)}):
        steady(["y"], feeds, None)

    assert seen == [{"x": (3, 4), "scale": (1,)}, {"x": (3, 4), "t": ()}, {"x": (0, 4)}]


def test_clients_at_once_share_runs_of_the_same_rows(serve: Callable[..., Running]) -> None:
    server = serve("--max-batch-size", "8", change_seconds=SLOW)
    asked = [
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [float(number)] * 4}]}
        for number in range(40)
    ]

    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(server.infer, asked))

    assert [answer.status for answer in answers] == [200] * 40
    for number, answer in enumerate(answers):
        scores = next(one["data"] for one in answer.json["outputs"] if one["name"] == "scores")
        assert np.allclose(scores, np.full(4, number, np.float32) @ small.WEIGHTS, rtol=1e-4)
    [told] = [json.loads(line) for line in server.lines if "every run has the same number of rows" in line]
    assert 1 < told["rows"] <= 8


def test_what_a_gpu_rounds_off_for_another_number_of_rows_is_no_dependence_of_rows(
    gpu: PretendedGpu, load: Load
) -> None:
    """Of the terms of a sum; the sum itself may be near zero."""
    gpu.rounds_off = 0.003
    weights = small.WEIGHTS * np.array([0, 1, 1], np.float32)

    assert load(small.linear(weights)).objection is None


def test_rows_that_change_by_more_than_rounding_depend_on_each_other(gpu: PretendedGpu, load: Load) -> None:
    gpu.rounds_off = 0.05

    objection = load(small.linear()).objection

    assert objection is not None
    assert objection.code == "RowsDepend"
