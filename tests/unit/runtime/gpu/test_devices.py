"""Who must have done the work of a run, for a device to be the one that was asked for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tidegate_runtime.devices import CPU, CUDA, TENSORRT, DeviceUnavailable, require_work


@pytest.mark.parametrize(
    ("device", "ran"),
    [("cuda", {CUDA: 5, CPU: 5}), ("tensorrt", {TENSORRT: 1, CUDA: 3, CPU: 40}), ("tensorrt", {TENSORRT: 1})],
)
def test_a_device_that_did_the_work_is_believed(device: str, ran: Mapping[str, int]) -> None:
    require_work(device, ran)


@pytest.mark.parametrize(
    ("device", "ran", "said"),
    [
        ("cuda", {CUDA: 4, CPU: 6}, "only 4 of the model's 10 operators"),
        ("cuda", {}, "only 0 of the model's 0 operators"),
        ("tensorrt", {CUDA: 12, CPU: 1}, "TensorRT ran none of the model's operators (CUDAExecutionProvider 12, "),
        ("tensorrt", {CPU: 12}, "TensorRT ran none"),
        ("tensorrt", {}, "no other ran"),
    ],
)
def test_a_device_that_left_the_work_to_another_is_not(device: str, ran: Mapping[str, int], said: str) -> None:
    with pytest.raises(DeviceUnavailable) as refused:
        require_work(device, ran)

    assert said in str(refused.value)
