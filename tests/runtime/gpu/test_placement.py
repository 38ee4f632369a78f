"""A model on a GPU: where it is placed, how that is proved, and what the providers are told.

The GPU is pretended (pretended.py): these tests show what the server decides and does, not that CUDA does it too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.runtime import small_bundles as small
from tests.runtime.gpu.loading import Load, fixed_sizes, ones, run
from tests.runtime.gpu.pretended import PretendedGpu

from tidegate.errors import Invalid
from tidegate_runtime import golden, session
from tidegate_runtime.devices import CUDA, DeviceUnavailable, count_operators
from tidegate_runtime.settings import parse
from tidegate_runtime.watchdog import RunLane


def test_a_model_on_a_gpu_answers_with_the_bits_of_one_on_the_processor(
    load: Load, lane: RunLane, tmp_path: Path
) -> None:
    model = load(small.linear(), small.linear_samples())
    plain = session.load(parse(["--bundle", str(tmp_path / "bundle")], {}), lane)
    golden.prove(model, parse(["--bundle", str(tmp_path / "bundle")], {}), lane)

    for rows in (1, 7, 1, 32):
        x = np.random.default_rng(rows).standard_normal((rows, 4)).astype(np.float32)
        assert [a.tobytes() for a in run(model, lane, x)] == [a.tobytes() for a in run(plain, lane, x)]
    assert model.batchable


def test_the_proof_says_how_many_operators_each_provider_ran(load: Load) -> None:
    assert load(small.linear()).work == {CUDA: 2}


def test_copies_between_devices_are_no_work() -> None:
    events = [
        {"cat": "Session", "name": "model_run", "args": {}},
        {"cat": "Node", "name": "c", "args": {"provider": CUDA, "op_name": "Conv"}},
        {"cat": "Node", "name": "m", "args": {"provider": CUDA, "op_name": "MemcpyFromHost"}},
        {"cat": "Node", "name": "s", "args": {"provider": "CPUExecutionProvider", "op_name": "Shape"}},
        {"cat": "Kernel", "name": "k", "args": {"stream": "7"}},
    ]

    assert count_operators(events) == {CUDA: 1, "CPUExecutionProvider": 1}


def test_a_gpu_that_does_not_start_or_gets_too_little_of_the_graph_is_unavailable(
    load: Load, gpu: PretendedGpu
) -> None:
    gpu.starts = False
    with pytest.raises(DeviceUnavailable, match="fell back to CPUExecutionProvider"):
        load(small.linear())

    gpu.starts, gpu.on_the_device = True, 0.4
    with pytest.raises(DeviceUnavailable, match="only 4 of the model's 10 operators are placed on the device"):
        load(small.linear())


def test_a_run_that_the_processor_made_is_no_proof_wherever_the_graph_was_placed(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.runtime.gpu.pretended._Session.end_profiling", lambda self: self._inner.end_profiling())

    with pytest.raises(DeviceUnavailable, match="only 0 of the model's 2 operators ran on the device"):
        load(small.linear())


def test_texts_and_bf16_run_on_a_gpu_as_elsewhere(gpu: PretendedGpu, tmp_path: Path, lane: RunLane) -> None:
    for name, kind, array in (
        ("texts", onnx.TensorProto.STRING, np.array([["grün", ""]], object)),
        ("bf16", onnx.TensorProto.BFLOAT16, np.array([[0x3F80, 0x7FC0]], np.uint16)),
    ):
        folder = small.write_bundle(tmp_path / name, small.cast(kind))
        model = session.load(parse(["--bundle", str(folder), "--device", "cuda"], {}), lane)
        assert run(model, lane, array)[0].tolist() == array.tolist()


# Configured.


def test_every_session_is_opened_with_our_options_and_the_users(load: Load, gpu: PretendedGpu, lane: RunLane) -> None:
    flags = ["--sessions", "2", "--provider-options", "use_tf32=0 gpu_mem_limit=4294967296"]

    model = load(small.linear(), (), *flags)

    assert len(gpu.opened) == 2
    assert gpu.opened[0] == gpu.opened[1]
    assert (
        gpu.opened[0][CUDA] | {"use_tf32": "0", "gpu_mem_limit": "4294967296", "device_id": "0"} == gpu.opened[0][CUDA]
    )
    assert [run(model, lane, ones())[1].tolist() for _ in range(4)] == [[2, 2]] * 4


def test_an_option_that_cannot_be_is_told_and_not_the_models_fault(load: Load) -> None:
    with pytest.raises(Invalid, match="'device_id' is set by the server"):
        load(small.linear(), (), "--provider-options", "device_id=1")


def test_graphs_are_off_unless_asked_for_and_only_for_fixed_sizes(
    load: Load, gpu: PretendedGpu, caplog: pytest.LogCaptureFixture
) -> None:
    load(small.linear(), (), "--provider-options", "enable_cuda_graph=1")

    assert "enable_cuda_graph" not in gpu.opened[0][CUDA]
    assert "no CUDA graphs: its inputs and outputs do not all have fixed sizes" in caplog.text


def test_a_model_of_fixed_sizes_is_run_as_a_graph(load: Load, gpu: PretendedGpu, lane: RunLane) -> None:
    model = load(fixed_sizes(), (), "--provider-options", "enable_cuda_graph=1")

    assert gpu.opened[-1][CUDA]["enable_cuda_graph"] == "1"
    assert run(model, lane, ones())[1].tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="gpu_graph_id"):  # the proof's own options forbade it, the runs' do not
        lane.options.get_run_config_entry("gpu_graph_id")


def test_a_model_that_cannot_be_recorded_is_run_without(
    load: Load, gpu: PretendedGpu, lane: RunLane, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.records_graphs = False

    model = load(fixed_sizes(), (), "--provider-options", "enable_cuda_graph=1")

    assert [one[CUDA].get("enable_cuda_graph") for one in gpu.opened] == ["1", None]
    assert "no CUDA graphs: " in caplog.text
    assert run(model, lane, ones())[1].tolist() == [2, 2]


def test_two_runs_of_a_session_are_under_way_on_a_gpu() -> None:
    flags = ["--bundle", "b", "--device", "cuda", "--sessions", "3", "--intra-op", "1"]

    assert parse(flags, {}).threads == 6


def test_a_request_to_tensorrt_has_no_more_rows_than_its_engines(load: Load) -> None:
    def most(*flags: str) -> int:
        return parse(["--bundle", "b", *flags], {}).most_rows

    assert most("--device", "cuda") == 1024
    assert most("--device", "tensorrt") == 32
    assert most("--device", "tensorrt", "--max-batch-size", "64", "--max-batch-request", "16") == 16
    assert most("--device", "tensorrt", "--provider-options", "trt_profile_max_shapes=x:512x4") == 1024
