"""Which GPU is meant, and what of it is told: nothing is made up for a slice, a dead driver or a missing package."""

from __future__ import annotations

import sys

import pytest
from tests.runtime.gpu.pretended import PretendedNvml

from tidegate_runtime.gpu.nvml import Reading, chosen, find_gpu, open_gpu

SLICE = "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f"


@pytest.mark.parametrize(
    ("environment", "choice"),
    [
        ({}, 0),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0),
        ({"CUDA_VISIBLE_DEVICES": "2,0"}, 2),
        ({"CUDA_VISIBLE_DEVICES": f" {SLICE} ,1"}, SLICE),
        ({"NVIDIA_VISIBLE_DEVICES": "all"}, 0),
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, 0),
        ({"NVIDIA_VISIBLE_DEVICES": "GPU-1,GPU-2"}, "GPU-1"),
        ({"NVIDIA_VISIBLE_DEVICES": "3"}, 0),  # the node's number: the container sees this GPU as its first
        ({"NVIDIA_VISIBLE_DEVICES": "1:0"}, 0),
        ({"NVIDIA_VISIBLE_DEVICES": "/var/run/nvidia-container-devices"}, 0),
        ({"CUDA_VISIBLE_DEVICES": "", "NVIDIA_VISIBLE_DEVICES": "3,GPU-1"}, 0),
        ({"CUDA_VISIBLE_DEVICES": "1", "NVIDIA_VISIBLE_DEVICES": SLICE}, 1),
    ],
)
def test_the_first_gpu_that_cuda_sees_is_meant(environment: dict[str, str], choice: int | str) -> None:
    assert chosen(environment) == choice


def test_a_whole_gpu_tells_its_memory_its_work_and_its_failed_checks() -> None:
    gpu = open_gpu(PretendedNvml(), 1)

    assert gpu is not None
    assert (gpu.name, gpu.uuid, gpu.driver) == ("NVIDIA H100 80GB HBM3", "GPU-1", "580.159.04")
    assert gpu.read() == Reading(3 * 2**30, 80 * 2**30, 0.45, 0)


@pytest.mark.parametrize(("nvml", "choice"), [(PretendedNvml(), SLICE), (PretendedNvml(sliced=True), 0)])
def test_of_a_slice_what_is_not_told_is_absent(nvml: PretendedNvml, choice: int | str) -> None:
    gpu = open_gpu(nvml, choice)

    assert gpu is not None
    assert gpu.uuid.startswith("MIG-")
    assert gpu.read() == Reading(3 * 2**30, 80 * 2**30, None, 0)


def test_without_a_driver_or_with_a_gpu_that_is_not_there_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert open_gpu(PretendedNvml(silent=True), 0) is None
    assert open_gpu(PretendedNvml(), "GPU-9") is None
    assert "no figures of the GPU" in caplog.text


def test_a_driver_that_stops_answering_gives_no_reading() -> None:
    nvml = PretendedNvml()
    gpu = open_gpu(nvml, 0)
    nvml.silent = True

    assert gpu is not None
    assert gpu.read() is None


def test_a_server_without_the_package_goes_on_without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)

    assert find_gpu({}) is None
