"""The benchmark of GPUs measures what it says, on a pretended one; without any it says so; wheels travel in parts."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import docs, gpu, gpu_checks, gpu_runs, gpu_tables
from benchmarks.gpu_runs import WAYS, Timed
from benchmarks.gpu_wheels import join, split
from tests.runtime import small_bundles as small
from tests.runtime.gpu.pretended import PretendedGpu, install

from tidegate_runtime.gpu import libraries

PRETENDED = (sys.executable, "-m", "tests.runtime.gpu.pretended", "{}")


def test_without_a_gpu_it_says_so_and_ends_with_2() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert done.stderr == (
        "error: this ONNX Runtime is the processors': install the extra `runtime-cuda` in place of `runtime`\n"
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> PretendedGpu:
    pretended = PretendedGpu()
    install(pretended, monkeypatch.setattr)
    monkeypatch.setattr(gpu_runs, "TURN", 0.0)
    monkeypatch.setattr(gpu, "LOAD_SECONDS", 0.1)
    return pretended


def test_every_way_is_timed_and_its_answers_compared(quick: PretendedGpu, tmp_path: Path) -> None:
    ways = [way for way in WAYS if way.device == "cuda"]

    found = gpu.runs(["tiny", "tiny-fp16"], [1, 4], ways, tmp_path)

    assert [(one.model, one.rows, one.way) for one in found] == [
        (model, rows, way.name) for model in ("tiny", "tiny-fp16") for rows in (1, 4) for way in ways
    ]
    assert [one.failed for one in found] == [""] * len(found)
    assert all(one.seconds > 0 and one.worst < 1e-3 for one in found)
    assert gpu_tables.table(found).splitlines()[0] == (
        "| model | rows | session.run | bound, pageable | bound, pinned | without TF32 | CUDA graph |"
    )


def test_what_a_machine_lacks_is_told_in_the_table(quick: PretendedGpu, tmp_path: Path) -> None:
    quick.starts = False

    [one] = gpu.runs(["tiny"], [1], [WAYS[2]], tmp_path)

    assert "fell back to CPUExecutionProvider" in one.failed
    assert "\n– bound, pinned: CUDAExecutionProvider did not start" in gpu_tables.table([one])


def test_answers_of_another_model_are_no_figures() -> None:
    same, other, broken = np.array([1.0, 2.0]), np.array([1.0, 2.2]), np.array([1.0, np.nan])

    assert gpu_runs.difference([same], [same]) == 0
    assert gpu_runs.difference([other], [same]) == pytest.approx(0.1)
    assert gpu_runs.difference([broken], [same]) == np.inf


def test_the_server_is_measured_under_load_and_at_its_start(quick: PretendedGpu, tmp_path: Path) -> None:
    [make] = gpu.subjects(["tiny"])

    found = gpu.served(make(1), "cuda", [1, 2], tmp_path, PRETENDED)
    cold = gpu.starts(make(1), tmp_path, PRETENDED)

    refused = gpu.served(make(1), "tensorrt", [1], tmp_path, (*PRETENDED[:-1], '{"starts": false}'))

    assert [one.connections for one in found] == [1, 2]
    assert "fell back to CPUExecutionProvider" in refused[0].failed
    assert all(one.rps > 0 and 0 < one.p50 <= one.p99 for one in found)
    assert [one.what for one in cold] == ["CUDA", "TensorRT, builds", "TensorRT, finds"]
    assert all(one.seconds > 0 for one in cold)
    assert "| tiny | CUDA |" in gpu_tables.table_starts(cold)


def test_a_servers_promises_are_checked_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu_checks, "SERVER", PRETENDED)

    found = [check(tmp_path) for check in (gpu_checks.proved, gpu_checks.shaped, gpu_checks.recorded)]

    assert [one.kept for one in found] == [True] * 3
    assert [one.seen for one in found] == ["200; CUDAExecutionProvider 16", "50 of 50", "50 of 50"]
    assert "| a recorded CUDA graph answers each input by itself | 50 of 50 | kept |" in gpu_checks.table(found)


def test_tensorrts_promises_are_checked_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu_checks, "SERVER", PRETENDED)
    monkeypatch.setattr(gpu_checks, "CHECKS", ())
    monkeypatch.setattr(libraries, "load", lambda device: None)
    monkeypatch.setattr(libraries, "tensorrt_version", lambda: "101500")

    found = gpu_checks.checked(tmp_path)

    assert [one.promise for one in found if not one.kept] == []
    assert [one.seen for one in found[:3]] == [
        "200; TensorrtExecutionProvider 16",
        "200; TensorrtExecutionProvider 16",
        "50 of 50",
    ]
    assert found[3].seen.startswith("3 of 3 right, 2 folders")
    assert found[4].seen.startswith("[200, 400, 200]: ")


def test_where_tensorrt_is_not_nothing_is_said_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu_checks, "CHECKS", ())

    assert gpu_checks.checked(tmp_path) == []


def test_a_promise_that_is_not_kept_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu_checks, "SERVER", PRETENDED)
    check = gpu_checks.refused("no GPU is no slow success", "DeviceUnavailable", graph=small.linear())

    assert check(tmp_path) == gpu_checks.Check("no GPU is no slow success", "it is ready", kept=False)


def test_what_is_to_be_done_may_be_chosen() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "checks", "flights"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert "there is no section flights: take of checks, runs, served, starts" in done.stderr


def test_the_page_is_not_written_from_half_a_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tmp_path / "gpu.json"
    found.write_text('{"machine": {}, "runs": []}')
    monkeypatch.setattr(gpu, "FOUND", found)
    monkeypatch.setattr(sys, "argv", ["gpu", "--write-docs"])

    with pytest.raises(SystemExit):
        gpu.main()

    assert (
        f"{found} lacks served, starts: run `make bench-gpu` where a GPU is, or bring the file"
        in capsys.readouterr().err
    )


RUNS = [
    Timed("m", 1, "session.run", 0.002),
    Timed("m", 1, "CUDA graph", 0.001234),
    Timed("m", 1, "TensorRT", failed="it is not here"),
    Timed("m", 1, "TensorRT fp16", failed="it is not here"),
]


def test_ways_that_went_nowhere_are_told_once_for_each_reason() -> None:
    assert gpu_tables.table(RUNS).splitlines() == [
        "| model | rows | session.run | CUDA graph |",
        "|---|---|---|---|",
        "| m | 1 | 2 | 1.23 |",
        "",
        "– TensorRT; TensorRT fp16: it is not here",
    ]


def test_rates_stand_beside_each_other_by_connections() -> None:
    found = [gpu_tables.Served("m", "cuda", count, 1000.0 * count, 0.001, 0.002 * count) for count in (1, 16)]

    assert gpu_tables.table_served(found).splitlines() == [
        "| model | device | by 1 | by 16 | p99 ms |",
        "|---|---|---|---|---|",
        "| m | cuda | 1,000 | 16,000 | 2, 32 |",
    ]


def test_why_a_server_never_was_under_load_is_told() -> None:
    found = [gpu_tables.Served("m", "cuda", 1, 1000.0, 0.001, 0.002), gpu_tables.Served("m", "tensorrt", failed="gone")]

    assert gpu_tables.table_served(found).splitlines() == [
        "| model | device | by 1 | p99 ms |",
        "|---|---|---|---|",
        "| m | cuda | 1,000 | 2 |",
        "",
        "– tensorrt: gone",
    ]


def test_what_was_found_on_another_machine_goes_into_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("before\n<!-- gpu: written by its benchmark -->\nold\n<!-- end of gpu -->\nafter\n")
    for module in (docs, gpu_tables):
        monkeypatch.setattr(module, "PAGE", page)
    machine = {"gpu": "NVIDIA H200", "driver": "580.1", "onnxruntime": "1.31.1"}

    gpu_tables.write_docs({"machine": machine, "runs": [asdict(one) for one in RUNS], "served": [], "starts": []})

    written = page.read_text()
    assert "NVIDIA H200, driver 580.1, ONNX Runtime 1.31.1" in written
    assert written.startswith("before\n") and written.endswith("after\n") and "old" not in written
    plot = (tmp_path / "performance-gpu.svg").read_text()
    assert ">1.62<" in plot and "CUDA graph" in plot and "TensorRT" not in plot


def test_wheels_come_out_of_their_parts_as_they_went_in(tmp_path: Path) -> None:
    wheels: dict[str, Any] = {
        "a-1.0-py3-none-any.whl": b"a" * 1000,
        "b-2.0-cp312-cp312-linux_x86_64.whl": bytes(range(256)),
    }
    (tmp_path / "wheels").mkdir()
    for name, content in wheels.items():
        (tmp_path / "wheels" / name).write_bytes(content)

    parts = split(tmp_path / "wheels", tmp_path / "parts", 300)
    joined = join(reversed(parts), tmp_path / "joined")

    assert len(parts) == 5
    assert {path.name: path.read_bytes() for path in joined} == wheels


def test_a_missing_part_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "a.whl").write_bytes(bytes(1000))
    parts = split(tmp_path / "wheels", tmp_path / "parts", 300)

    with pytest.raises(ValueError, match=r"a\.whl is not whole"):
        join(parts[:-1], tmp_path / "joined")
