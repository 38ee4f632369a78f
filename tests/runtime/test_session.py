"""Models are loaded as the manifest promises, or refused in one sentence; nothing may hang or crash."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from tests.runtime import small_bundles as small

from tidegate.bundle.errors import DigestMismatch, GoldenMismatch, ModelInvalid, NotFound, UnsafeFile
from tidegate.bundle.golden import GoldenSample
from tidegate_runtime import golden, session
from tidegate_runtime.devices import DeviceUnavailable, require_residency
from tidegate_runtime.session import OrtModel
from tidegate_runtime.settings import Settings, parse
from tidegate_runtime.watchdog import RunLane, Watchdog

Load = Callable[..., OrtModel]


def settings_for(folder: Path, *flags: str) -> Settings:
    return parse(["--bundle", str(folder), *flags], {})


@pytest.fixture
def lane() -> Iterator[RunLane]:
    watchdog = Watchdog()
    watchdog.start()
    yield watchdog.lane()
    watchdog.stop()


@pytest.fixture
def load(tmp_path: Path, lane: RunLane) -> Load:
    def load_it(graph: onnx.ModelProto, samples: Any = (), *flags: str) -> OrtModel:
        small.write_bundle(tmp_path / "bundle", graph, samples)
        return session.load(settings_for(tmp_path / "bundle", *flags), lane)

    return load_it


def run(model: OrtModel, lane: RunLane, **feeds: Any) -> list[Any]:
    lane.begin(time.monotonic() + 5)
    try:
        return model.run(feeds, lane)
    finally:
        lane.end()


def test_a_loaded_model_runs_and_knows_what_its_batches_cost(load: Load, lane: RunLane) -> None:
    model = load(small.linear(), small.linear_samples())

    scores, label = run(model, lane, x=np.ones((2, 4), np.float32))

    assert np.allclose(scores, np.ones((2, 4)) @ small.WEIGHTS, atol=1e-6)
    assert label.tolist() == [2, 2]
    assert model.batchable
    assert model.row_bytes == 16
    assert [rows for rows, _ in model.costs][:3] == [1, 2, 4]


def test_names_come_from_the_flags_and_else_from_the_bundle(load: Load) -> None:
    model = load(small.linear(), (), "--name", "checkout", "--revision", "7")

    assert (model.name, model.version, model.revision) == ("checkout", "v1", "7")


def test_a_model_that_mixes_rows_is_never_batched(load: Load) -> None:
    assert not load(small.mixing_rows()).batchable


@pytest.mark.parametrize("samples", [[], [GoldenSample({"x": np.ones(1, np.float32)}, {"y": np.ones(1, np.float32)})]])
def test_an_endless_loop_is_refused_at_its_deadline(load: Load, samples: list[GoldenSample]) -> None:
    begin = time.monotonic()

    with pytest.raises(ModelInvalid, match=r"model.onnx: the first run failed: it did not end within 0.3 s"):
        load(small.endless(), samples, "--request-timeout", "300ms")

    assert time.monotonic() - begin < 5


def test_a_model_that_asks_for_2_to_the_45_floats_is_refused(load: Load) -> None:
    with pytest.raises(ModelInvalid, match=r"first run failed: [^()]*Failed to allocate"):
        load(small.greedy())


def test_a_model_that_takes_too_long_to_load_is_refused(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LOAD_SECONDS", 0.0)

    with pytest.raises(ModelInvalid, match="did not load within 0 s"):
        load(small.long_chain(5000))


def test_a_model_that_swells_at_load_is_loaded_as_small_as_it_is(tmp_path: Path) -> None:
    folder = small.write_bundle(tmp_path / "b", small.swelling(100_000_000))
    # VmHWM begins anew with the program; ru_maxrss would be at least what this test run holds.
    code = (
        "import re, sys; from tidegate_runtime.check import check; from pathlib import Path;"
        "check(Path(sys.argv[1]), 'cpu');"
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )

    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=60, check=True)

    assert int(done.stdout) < 200_000  # KiB; 1.2 million when constants are folded without a limit


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95junk", b"PK\x03\x04" + b"\0" * 200, b"\x89HDF\r\n\x1a\n"])
def test_what_is_no_onnx_is_refused_without_a_path_in_the_sentence(
    tmp_path: Path, lane: RunLane, content: bytes
) -> None:
    folder = small.write_bundle(tmp_path / "b", small.linear())
    (folder / "model.onnx").write_bytes(content)
    (folder / "bundle.yaml").unlink()
    small.write_manifest_of(folder, small.linear())

    with pytest.raises(ModelInvalid, match="ONNX Runtime cannot load it") as refused:
        session.load(settings_for(folder), lane)

    assert str(tmp_path) not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_truncated_graph_is_refused(tmp_path: Path, lane: RunLane) -> None:
    folder = small.write_bundle(tmp_path / "b", small.linear())
    whole = (folder / "model.onnx").read_bytes()
    for length in range(1, len(whole), 17):
        (folder / "model.onnx").write_bytes(whole[:length])
        (folder / "bundle.yaml").unlink()
        small.write_manifest_of(folder, small.linear())
        with pytest.raises(ModelInvalid):
            session.load(settings_for(folder), lane)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m.graph.input[0].type.tensor_type.shape.dim[1].__setattr__("dim_value", 5), "the manifest says"),
        (lambda m: m.graph.output[0].__setattr__("name", "other"), "which the graph does not have"),
        (lambda m: m.graph.input[0].type.tensor_type.__setattr__("elem_type", 11), "is FP32, the manifest says FP64"),
    ],
)
def test_a_graph_that_is_not_the_manifests_is_refused(
    tmp_path: Path, lane: RunLane, change: Callable[[onnx.ModelProto], None], sentence: str
) -> None:
    folder = small.write_bundle(tmp_path / "b", small.linear())
    listed = small.linear()
    change(listed)
    (folder / "bundle.yaml").unlink()
    small.write_manifest_of(folder, listed)

    with pytest.raises(ModelInvalid, match=sentence):
        session.load(settings_for(folder), lane)


def test_a_missing_a_shorter_and_a_linked_file_are_refused_by_name(tmp_path: Path, lane: RunLane) -> None:
    folder = small.write_bundle(tmp_path / "b", small.linear(), small.linear_samples())
    sample = folder / "golden/1.npz"
    content = sample.read_bytes()

    sample.write_bytes(content[:-1])
    with pytest.raises(DigestMismatch, match=r"golden/1.npz: \d+ bytes, expected \d+"):
        session.load(settings_for(folder), lane)
    sample.unlink()
    with pytest.raises(NotFound, match=r"golden/1.npz"):
        session.load(settings_for(folder), lane)
    sample.symlink_to(folder / "golden/0.npz")
    with pytest.raises(UnsafeFile, match=r"golden/1.npz"):
        session.load(settings_for(folder), lane)


@pytest.mark.parametrize(
    ("element_type", "array"),
    [
        (TensorProto.BFLOAT16, np.array([[0x3F80, 0x7FC0]], np.uint16)),
        (TensorProto.FLOAT16, np.array([[1.5, np.inf]], np.float16)),
        (TensorProto.STRING, np.array([["grün", ""]], object)),
        (TensorProto.BOOL, np.array([[True, False]])),
        (TensorProto.UINT64, np.array([[2**64 - 1, 0]], np.uint64)),
    ],
)
def test_tensors_of_every_kind_come_back_bit_by_bit(load: Load, lane: RunLane, element_type: int, array: Any) -> None:
    model = load(small.cast(element_type))

    (answer,) = run(model, lane, x=array)

    assert answer.dtype == array.dtype
    assert answer.tolist() == array.tolist() if array.dtype == object else answer.tobytes() == array.tobytes()


def test_several_sessions_take_turns(load: Load, lane: RunLane) -> None:
    model = load(small.linear(), (), "--sessions", "2")

    answers = [run(model, lane, x=np.ones((1, 4), np.float32))[1].tolist() for _ in range(4)]

    assert answers == [[2]] * 4


def test_golden_samples_that_hold_are_remembered_with_their_worst_difference(load: Load, lane: RunLane) -> None:
    model = load(small.linear(), small.linear_samples())

    golden.prove(model, settings_for(model.bundle.path), lane)

    assert model.worst["label"] == 0.0
    assert 0.0 <= model.worst["scores"] < 1e-5


def test_a_model_with_one_wrong_weight_is_refused_naming_output_sample_and_difference(
    load: Load, lane: RunLane
) -> None:
    damaged = small.WEIGHTS.copy()
    damaged[1, 2] = -damaged[1, 2]
    model = load(small.linear(damaged), small.linear_samples())

    with pytest.raises(GoldenMismatch, match=r"output 'scores' of sample golden/0.npz: .* worst difference \d"):
        golden.prove(model, settings_for(model.bundle.path), lane)


@pytest.mark.parametrize(("flag", "noted"), [("Report", True), ("Skip", False)])
def test_a_mismatch_is_only_reported_or_not_looked_for_when_the_flag_says_so(
    load: Load, lane: RunLane, flag: str, noted: bool
) -> None:
    model = load(small.linear(-small.WEIGHTS), small.linear_samples())

    golden.prove(model, settings_for(model.bundle.path, "--golden", flag), lane)

    assert (model.worst.get("scores", 0.0) > 0.1) is noted


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_device_that_this_build_does_not_have_is_unavailable(load: Load, device: str) -> None:
    with pytest.raises(DeviceUnavailable, match=f"device '{device}' needs"):
        load(small.linear(), (), "--device", device)


@pytest.mark.parametrize(
    ("active", "nodes"),
    [
        (["CPUExecutionProvider"], {"CPUExecutionProvider": 5}),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], {"CPUExecutionProvider": 5}),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], {"CUDAExecutionProvider": 1, "CPUExecutionProvider": 5}),
    ],
)
def test_a_gpu_that_does_not_do_the_work_is_unavailable(active: list[str], nodes: dict[str, int]) -> None:
    with pytest.raises(DeviceUnavailable):
        require_residency("cuda", active, nodes)


def test_a_graph_mostly_on_the_gpu_is_accepted() -> None:
    nodes = {"CUDAExecutionProvider": 5, "CPUExecutionProvider": 2}

    require_residency("cuda", ["CUDAExecutionProvider", "CPUExecutionProvider"], nodes)
