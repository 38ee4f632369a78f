"""Models and servers on the pretended GPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Running, start
from tests.runtime.gpu.loading import Load
from tests.runtime.gpu.pretended import PretendedGpu, install

from tidegate_runtime import session
from tidegate_runtime.session import OrtModel
from tidegate_runtime.settings import parse
from tidegate_runtime.watchdog import RunLane, Watchdog


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


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts servers on a pretended GPU; ready."""
    started: list[Running] = []

    def run(*flags: str, **gpu: Any) -> Running:
        folder = tmp_path / "bundle"
        if not folder.exists():
            small.write_bundle(folder, small.linear(), small.linear_samples())
        program = ("tests.runtime.gpu.pretended", json.dumps(gpu))
        running = start(folder, "--device", "cuda", "--grpc-port", "0", *flags, program=program)
        started.append(running)
        running.wait_ready()
        return running

    yield run
    for running in started:
        running.kill()
