"""What ends a real server before it is ready: an exit code, and one line that says why."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.runtime import small_bundles as small
from tests.runtime.running_server import serve


def damaged(folder: Path) -> Path:
    weights = small.WEIGHTS.copy()
    weights[2, 1] = 0.0
    return small.write_bundle(folder, small.linear(weights), small.linear_samples())


def garbage(folder: Path) -> Path:
    small.write_bundle(folder, small.linear())
    (folder / "model.onnx").write_bytes(b"\x80\x04\x95 pickle me")
    (folder / "bundle.yaml").unlink()
    return small.write_manifest_of(folder, small.linear())


def shortened(folder: Path) -> Path:
    small.write_bundle(folder, small.linear())
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-1])
    return folder


def healthy(folder: Path) -> Path:
    return small.write_bundle(folder, small.linear())


def endless(folder: Path) -> Path:
    return small.write_bundle(folder, small.endless())


def greedy(folder: Path) -> Path:
    return small.write_bundle(folder, small.greedy())


@pytest.mark.parametrize(
    ("make", "flags", "code", "reason", "sentence"),
    [
        (damaged, [], 1, "GoldenMismatch", "output 'scores' of sample golden/0.npz"),
        (garbage, [], 1, "ModelInvalid", "ONNX Runtime cannot load it"),
        (shortened, [], 1, "DigestMismatch", "model.onnx"),
        (endless, ["--request-timeout", "500ms"], 1, "ModelInvalid", "did not end within 0.5 s"),
        (greedy, [], 1, "ModelInvalid", "Failed to allocate"),
        (healthy, ["--device", "cuda"], 5, "DeviceUnavailable", "or the extra runtime-cuda in place of runtime"),
        (lambda folder: folder / "nothing", [], 1, "NotFound", "bundle.yaml"),
    ],
)
def test_a_server_that_must_not_serve_ends_with_its_reason(
    tmp_path: Path, make: Callable[[Path], Path], flags: list[str], code: int, reason: str, sentence: str
) -> None:
    with serve(make(tmp_path / "bundle"), tmp_path / "run", *flags) as running:
        assert running.process.wait(timeout=20) == code

    last = json.loads((tmp_path / "run/termination-log").read_text())
    assert last["reason"] == reason
    assert sentence in last["message"]
    assert "\n" not in last["message"]
    assert json.loads(running.log.splitlines()[-1]) == last


def test_a_server_killed_while_it_loads_leaves_a_reason(tmp_path: Path) -> None:
    with serve(endless(tmp_path / "bundle"), tmp_path / "run") as running:
        assert running.ask("GET", "/readyz").status == 503
        assert running.ask("GET", "/livez").status == 200
        running.process.send_signal(signal.SIGKILL)
        running.process.wait(timeout=10)

    last = json.loads((tmp_path / "run/termination-log").read_text())
    assert last["reason"] == "ModelInvalid"
    assert "died while loading" in last["message"]


def test_a_server_told_to_end_while_it_loads_ends_at_once_and_well(tmp_path: Path) -> None:
    with serve(endless(tmp_path / "bundle"), tmp_path / "run") as running:
        running.process.send_signal(signal.SIGTERM)

        assert running.process.wait(timeout=10) == 0
