"""The statistics extension: what was asked, what was run together, and how long each part took."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tritonclient.http as triton
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Running

DURATIONS = {"success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"}


def request(rows: int) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": [1.0] * 4 * rows}]}


def statistics(server: Running, path: str = "/v2/models/fraud/stats") -> dict[str, Any]:
    (entry,) = server.get(path).json["model_stats"]
    return dict(entry)


@pytest.fixture
def server(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    """Nobody has asked it anything yet; two rows that come within a second share a run."""
    return serve(
        bundles(small.linear()), "--revision", "r7", "--max-batch-delay", "1s", "--max-batch-size", "2", "--intra-op", "1"
    )  # fmt: skip


def test_nothing_was_answered_at_first_and_every_field_is_there(server: Running) -> None:
    entry = statistics(server)
    assert (entry["name"], entry["version"]) == ("fraud", "v1")
    assert entry["last_inference"] == entry["inference_count"] == entry["execution_count"] == 0
    assert entry["inference_stats"] == {name: {"count": 0, "ns": 0} for name in DURATIONS}
    assert entry["batch_stats"] == []


def test_requests_count_as_rows_and_those_that_share_a_run_as_one_execution(server: Running) -> None:
    together = [threading.Thread(target=server.infer, args=[request(1)]) for _ in range(2)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    server.infer(request(5))
    server.infer({"inputs": []})

    entry = statistics(server)

    assert entry["inference_count"] == 7
    assert entry["execution_count"] == 2
    durations = entry["inference_stats"]
    assert {name: durations[name]["count"] for name in durations} == {
        "success": 3, "fail": 1, "queue": 3, "compute_input": 3, "compute_infer": 3, "compute_output": 3,
        "cache_hit": 0, "cache_miss": 0,
    }  # fmt: skip
    parts = sum(durations[name]["ns"] for name in ("queue", "compute_input", "compute_infer", "compute_output"))
    assert 0 < parts <= durations["success"]["ns"]
    assert all(durations[name]["ns"] > 0 for name in ("compute_input", "compute_infer", "compute_output", "fail"))
    assert [(size["batch_size"], size["compute_infer"]["count"]) for size in entry["batch_stats"]] == [(2, 1), (5, 1)]
    assert entry["last_inference"] > 1_700_000_000_000


def test_a_request_to_a_model_whose_rows_depend_on_each_other_is_one_inference(
    bundles: Callable[..., Path], serve: Callable[..., Running]
) -> None:
    server = serve(bundles(small.mixing_rows()))
    assert server.infer(request(3)).status == 200
    entry = statistics(server)
    assert (entry["inference_count"], entry["execution_count"]) == (1, 1)
    assert [size["batch_size"] for size in entry["batch_stats"]] == [1]


def test_the_statistics_are_the_same_for_all_models_this_model_and_its_version(fraud: Running) -> None:
    fraud.infer(request(1))
    entries = [
        statistics(fraud, path)
        for path in (
            "/v2/models/stats",
            "/v2/models/fraud/stats",
            "/v2/models/fraud/versions/v1/stats",
            "/v2/models/fraud/versions/r7/stats",
        )
    ]
    assert all(entry == entries[0] for entry in entries)
    assert fraud.get("/v2/models/fraud/versions/v9/stats").status == 404


def test_the_public_client_reads_the_statistics(fraud: Running) -> None:
    client = triton.InferenceServerClient(f"127.0.0.1:{fraud.http}")
    try:
        assert client.get_inference_statistics() == client.get_inference_statistics("fraud", "v1")
        assert "statistics" in client.get_server_metadata()["extensions"]
        for change in (client.get_trace_settings, client.get_log_settings, client.get_system_shared_memory_status):
            with pytest.raises(triton.InferenceServerException, match=r"cannot be changed|is not offered"):
                change()
    finally:
        client.close()
