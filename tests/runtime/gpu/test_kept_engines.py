"""TensorRT's engines are built once for a model on a GPU, and whatever happens to their folder costs only time."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.runtime import small_bundles as small
from tests.runtime.gpu.loading import Load
from tests.runtime.gpu.pretended import PretendedGpu

from tidegate_runtime.devices import TENSORRT
from tidegate_runtime.gpu import engines
from tidegate_runtime.session import OrtModel


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


def test_engines_that_do_not_load_and_cannot_be_removed_cost_time_and_no_service(
    tensorrt: Callable[..., OrtModel],
    gpu: PretendedGpu,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tensorrt()
    [folder] = (tmp_path / "engines").iterdir()
    (folder / "TRTKernel_graph_1_0_sm90.engine").write_text("rubbish")

    def read_only(path: Path, *, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(engines, "shutil", SimpleNamespace(rmtree=read_only))
    tensorrt()

    assert "trt_engine_cache_path" not in gpu.opened[-1][TENSORRT]
    assert "engines are not kept: Read-only file system" in caplog.text


def test_engines_with_which_nothing_has_run_are_not_kept(
    load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_width = small.linear()  # it runs with a width of four only, and the first run guesses one
    open_width.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "M"
    shapes = " ".join(f"trt_profile_{which}_shapes=x:{rows}x4" for which, rows in (("min", 1), ("opt", 8), ("max", 32)))
    flags = ("--device", "tensorrt", "--engine-cache", str(tmp_path / "engines"), "--provider-options", shapes)

    assert load(open_width, (), *flags).work == {}

    [folder] = (tmp_path / "engines").iterdir()
    assert folder.name.endswith(f".building-{os.getpid()}")
    assert "the GPU is not proved: the first run failed: " in caplog.text


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
