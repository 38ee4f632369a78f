"""Models and servers on the pretended GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from tests.runtime import small_bundles as small
from tests.runtime.conftest import DEADLINE, Running, read_line
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

    def start(*flags: str, **gpu: Any) -> Running:
        folder = tmp_path / "bundle"
        if not folder.exists():
            small.write_bundle(folder, small.linear(), small.linear_samples())
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.runtime.gpu.pretended", json.dumps(gpu), "serve", "--bundle", str(folder),
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
