"""A model on a GPU: placed, proved, run bound, and what its failures do to the server.

The GPU is pretended (pretended_gpu.py): these tests show what the server decides and does, not that CUDA does it too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.runtime import small_bundles as small
from tests.runtime.conftest import DEADLINE, Running, read_line
from tests.runtime.grpc_client import Client, Refusal
from tests.runtime.pretended_gpu import FULL, LOST, PretendedGpu, install
from tests.waiting import wait_until
from tritonclient.grpc import service_pb2 as messages

from tidegate.bundle.errors import ModelInvalid
from tidegate.bundle.golden import GoldenSample
from tidegate.errors import Invalid
from tidegate_runtime import golden, session
from tidegate_runtime.devices import CUDA, TENSORRT, DeviceUnavailable, count_operators
from tidegate_runtime.errors import DeviceFull, DeviceLost
from tidegate_runtime.session import OrtModel
from tidegate_runtime.settings import parse
from tidegate_runtime.watchdog import RunLane, Watchdog

Load = Callable[..., OrtModel]


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    watchdog = Watchdog()
    watchdog.start()
    yield watchdog
    watchdog.stop()


@pytest.fixture
def lane(watchdog: Watchdog) -> RunLane:
    return watchdog.lane()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> PretendedGpu:
    gpu = PretendedGpu()
    install(gpu, monkeypatch.setattr)
    return gpu


@pytest.fixture
def load(gpu: PretendedGpu, tmp_path: Path, lane: RunLane) -> Load:
    def load_it(graph: onnx.ModelProto, samples: Any = (), *flags: str) -> OrtModel:
        folder = tmp_path / "bundle"
        if not folder.exists():
            small.write_bundle(folder, graph, samples)
        if "--device" not in flags:
            flags = ("--device", "cuda", *flags)
        return session.load(parse(["--bundle", str(folder), *flags], {}), lane)

    return load_it


def run(model: OrtModel, lane: RunLane, x: Any) -> list[Any]:
    lane.begin(time.monotonic() + 5)
    try:
        return model.run({"x": x}, lane)
    finally:
        lane.end()


def fixed_sizes() -> onnx.ModelProto:
    graph = small.linear()
    for tensor in (*graph.graph.input, *graph.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 2
    return graph


def ones(value: float = 1.0) -> Any:
    return np.full((2, 4), value, np.float32)


# Placed and proved.


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
    monkeypatch.setattr("tests.runtime.pretended_gpu._Session.end_profiling", lambda self: self._inner.end_profiling())

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
    load(small.linear(), (), "--cuda-graphs", "auto")

    assert "enable_cuda_graph" not in gpu.opened[0][CUDA]
    assert "no CUDA graphs: its inputs and outputs do not all have fixed sizes" in caplog.text


def test_a_model_of_fixed_sizes_is_run_as_a_graph(load: Load, gpu: PretendedGpu, lane: RunLane) -> None:
    model = load(fixed_sizes(), (), "--cuda-graphs", "auto")

    assert gpu.opened[-1][CUDA]["enable_cuda_graph"] == "1"
    assert run(model, lane, ones())[1].tolist() == [2, 2]
    assert lane.options.get_run_config_entry("gpu_graph_id") == "0"


def test_a_model_that_cannot_be_recorded_is_run_without(
    load: Load, gpu: PretendedGpu, lane: RunLane, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.records_graphs = False

    model = load(fixed_sizes(), (), "--cuda-graphs", "auto")

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


# Engines.


@pytest.fixture
def tensorrt(load: Load, tmp_path: Path) -> Callable[..., OrtModel]:
    flags = ("--device", "tensorrt", "--engine-cache", str(tmp_path / "engines"))
    return lambda *more: load(small.linear(), small.linear_samples(), *flags, *more)


def test_engines_are_built_once_and_found_by_the_next_start(
    tensorrt: Callable[..., OrtModel], gpu: PretendedGpu, tmp_path: Path
) -> None:
    for _ in range(2):
        tensorrt()

    [folder] = (tmp_path / "engines").iterdir()
    assert "nvidia-h100" in folder.name
    assert gpu.opened[0][TENSORRT]["trt_engine_cache_path"].startswith(f"{folder}.building-")
    assert gpu.opened[1][TENSORRT]["trt_engine_cache_path"] == str(folder)
    assert gpu.opened[0][TENSORRT]["trt_profile_max_shapes"] == "x:32x4"


def test_engines_that_do_not_load_are_built_again(
    tensorrt: Callable[..., OrtModel], gpu: PretendedGpu, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tensorrt()
    [folder] = (tmp_path / "engines").iterdir()
    (folder / "TRTKernel_graph_1_0_sm90.engine").write_text("rubbish")

    tensorrt()
    tensorrt()

    assert len(gpu.opened) == 4  # built, failed, built again, found
    assert "kept engines are built again: " in caplog.text
    assert (folder / "TRTKernel_graph_1_0_sm90.engine").read_text() == "an engine"


def test_other_options_have_other_engines(tensorrt: Callable[..., OrtModel], tmp_path: Path) -> None:
    tensorrt()
    tensorrt("--provider-options", "trt_fp16_enable=1")

    assert len(list((tmp_path / "engines").iterdir())) == 2


def test_a_cache_that_cannot_be_written_costs_time_and_no_service(
    load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")

    load(small.linear(), (), "--device", "tensorrt", "--engine-cache", str(tmp_path / "file"))

    assert "engines are not kept: Not a directory" in caplog.text


# Failures.


def samples_of(value: float) -> list[GoldenSample]:
    x = np.full((1, 4), value, np.float32)
    scores = x @ small.WEIGHTS
    return [GoldenSample({"x": x}, {"scores": scores, "label": scores.argmax(-1)})]


@pytest.mark.parametrize(("value", "words"), [(FULL, "out of memory"), (LOST, "CUDA error 700")])
def test_a_gpu_that_fails_before_any_request_is_unavailable_and_the_model_is_not_blamed(
    load: Load, value: float, words: str
) -> None:
    with pytest.raises(DeviceUnavailable, match=words):
        load(small.linear(), samples_of(value))


def test_a_model_that_fails_by_itself_is_still_the_models_fault(load: Load) -> None:
    nodes = [onnx.helper.make_node("Gather", ["table", "x"], ["y"])]
    x, y = small.value("x", onnx.TensorProto.INT64, ["N"]), small.value("y", onnx.TensorProto.FLOAT, ["N"])
    graph = small.model(nodes, [x], [y], {"table": np.ones(3, np.float32)})

    with pytest.raises(ModelInvalid, match=r"first run failed: .*indices element out of data bounds"):
        load(graph, [GoldenSample({"x": np.array([7])}, {"y": np.ones(1, np.float32)})])


def test_too_little_memory_passes(load: Load, lane: RunLane, watchdog: Watchdog) -> None:
    model = load(small.linear())

    with pytest.raises(DeviceFull, match="out of memory"):
        run(model, lane, ones(FULL))

    watchdog.look(time.monotonic())
    assert not watchdog.lost
    assert run(model, lane, ones())[1].tolist() == [2, 2]


def test_a_lost_gpu_stays_lost_whoever_ran_the_model(load: Load, lane: RunLane, watchdog: Watchdog) -> None:
    model = load(small.linear())

    for value in (LOST, 1.0):
        with pytest.raises(DeviceLost, match="CUDA error 700"):
            run(model, lane, ones(value))

    wait_until(lambda: watchdog.lost, "the watchdog sees it")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts servers on a pretended GPU; ready."""
    started: list[Running] = []

    def start(*flags: str, **gpu: Any) -> Running:
        folder = tmp_path / "bundle"
        if not folder.exists():
            small.write_bundle(folder, small.linear(), small.linear_samples())
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.runtime.pretended_gpu", json.dumps(gpu), "serve", "--bundle", str(folder),
             "--device", "cuda", "--host", "127.0.0.1", "--http-port", "0", "--grpc-port", "0",
             "--metrics-host", "127.0.0.1", "--metrics-port", "0", "--drain-delay", "0s", *flags],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        assert process.stdout is not None
        told = json.loads(read_line(process.stdout))
        running = Running(process, told["http"], told["metrics"], told["grpc"])
        started.append(running)
        running.wait_ready()
        return running

    yield start
    for running in started:
        running.process.kill()
        running.process.wait(timeout=DEADLINE)
        for stream in (running.process.stdout, running.process.stderr):
            assert stream is not None
            stream.close()


def asked(value: float) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [value] * 4}]}


def asked_by_grpc(value: float) -> Any:
    tensor = messages.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 4])
    raw = np.full((1, 4), value, np.float32).tobytes()
    return messages.ModelInferRequest(model_name="fraud", inputs=[tensor], raw_input_contents=[raw])


def test_a_run_without_memory_is_answered_so_and_the_server_goes_on(serve: Callable[..., Running]) -> None:
    server = serve()

    refused = server.infer(asked(FULL))
    with Client(server.grpc) as client, pytest.raises(Refusal) as told:
        client.infer(asked_by_grpc(FULL))

    assert refused.status == 503
    assert refused.error == "the GPU is out of memory for this run: send fewer rows, or try again later"
    assert told.value.code == "RESOURCE_EXHAUSTED"
    assert server.infer(asked(1.0)).status == 200
    assert server.probe("/livez").status == 200


def test_a_lost_gpu_fails_liveness_and_is_told_to_whoever_asks(serve: Callable[..., Running]) -> None:
    server = serve()

    first = server.infer(asked(LOST))

    assert first.status == 503
    assert first.error == (
        "the GPU is lost to this server, which will be restarted: memory was accessed where none is (CUDA error 700)"
    )
    assert "hostname" not in first.error
    wait_until(lambda: server.probe("/livez").status == 503, "liveness fails")
    assert server.probe("/livez").body.startswith(b"DeviceLost: ")
    assert server.probe("/readyz").body.strip() == b"DeviceLost"
    assert server.infer(asked(1.0)).error == "the GPU is lost: this server will be restarted"
    assert server.get("/v2/health/live").status == 503


def test_the_metrics_tell_what_the_driver_tells(serve: Callable[..., Running]) -> None:
    text = serve().probe("/metrics").body.decode()

    labels = 'model="fraud",version="v1",revision="v1",gpu="GPU-0",name="NVIDIA H100 80GB HBM3"'
    assert f"tidegate_gpu_memory_used_bytes{{{labels}}} {3 * 2**30}" in text
    assert f"tidegate_gpu_memory_bytes{{{labels}}} {80 * 2**30}" in text
    assert f"tidegate_gpu_utilization{{{labels}}} 0.45" in text
    assert f"tidegate_gpu_ecc_errors_total{{{labels}}} 0" in text
    assert (
        'tidegate_device_operators{model="fraud",version="v1",revision="v1",provider="CUDAExecutionProvider"} 2' in text
    )
