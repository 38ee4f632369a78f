"""What a GPU's failures do to the model, to the server and to whoever asks; and what the driver tells meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Running
from tests.runtime.gpu.loading import Load, ones, run
from tests.runtime.gpu.pretended import FULL, LOST
from tests.runtime.grpc_client import Client, Refusal
from tests.waiting import wait_until
from tritonclient.grpc import service_pb2 as messages

from tidegate.bundle.errors import ModelInvalid
from tidegate.bundle.golden import GoldenSample
from tidegate_runtime.batcher import Batch, Call
from tidegate_runtime.devices import DeviceUnavailable
from tidegate_runtime.errors import DeviceFull, DeviceLost
from tidegate_runtime.watchdog import RunLane, Watchdog
from tidegate_runtime.worker import run_batch


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


def calls(*values: float) -> list[Call]:
    later = time.monotonic() + 5
    return [Call({"x": ones(value)}, 2, "key", lambda _: None, 0.0, later) for value in values]


def test_neighbours_of_a_run_without_memory_are_answered(load: Load, lane: RunLane) -> None:
    model, together = load(small.linear()), calls(1.0, FULL, 2.0)

    runs = run_batch(model, lane, Batch(together, 6, "key"))

    assert [type(call.error) for call in together] == [type(None), DeviceFull, type(None)]
    assert len(runs) == 4


def test_on_a_lost_gpu_nobody_is_run_again(load: Load, lane: RunLane) -> None:
    model, together = load(small.linear()), calls(1.0, LOST, 2.0)

    runs = run_batch(model, lane, Batch(together, 6, "key"))

    assert [type(call.error) for call in together] == [DeviceLost] * 3
    assert len(runs) == 1


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
