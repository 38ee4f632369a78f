"""The servers of the comparison: how each is installed and started for one ONNX file, on one core with one worker.

All of them run the same ONNX Runtime with one thread a run.  Peers have virtual environments of their own, from
locks with hashes; Triton is the C++ server of nvidia-pytriton's wheel.  That wheel holds the Python backend only, so
Triton here runs the session in it: with its own ONNX Runtime backend it is faster (docs/performance.md).  The bare
server is no peer: it shows what the way from a socket to a session and back costs on this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from benchmarks.models import BenchModel
from benchmarks.packages import environment
from benchmarks.processes import Launch, free_port
from tests.runtime import small_bundles as small

PEERS = Path(__file__).resolve().parent
SERVED = PEERS / "served"
QUICK_END = ["--drain-delay", "0s"]


@dataclass(frozen=True, slots=True)
class System:
    """One server of the table; `protocols` are keys of forms.FORMS."""

    name: str
    protocols: tuple[str, ...]
    prepare: Callable[[BenchModel, Path], Launch]  # raises NotInstalled


def tidegate(model: BenchModel, folder: Path) -> Launch:
    return runtime(model, folder, with_grpc=True)


def runtime(model: BenchModel, folder: Path, *more: str, with_grpc: bool) -> Launch:
    """Our own server, at its defaults but for ports, and for the time it waits for an orchestrator at its end."""
    bundle = folder / "bundle"
    if not bundle.exists():
        small.write_bundle(bundle, model.graph, name="bench")
    http, grpc = free_port(), free_port() if with_grpc else None
    command: list[str | Path] = [
        sys.executable, "-m", "tidegate_runtime", "serve", "--bundle", bundle, "--host", "127.0.0.1", "--http-port",
        str(http), "--grpc-port", str(grpc or "off"), "--metrics-host", "127.0.0.1", "--metrics-port", "0",
        *QUICK_END, *more,
    ]  # fmt: skip
    return Launch(command, http, grpc)


def bare(model: BenchModel, folder: Path) -> Launch:
    http = free_port()
    return Launch([sys.executable, SERVED / "bare_server.py", onnx_file(model, folder), str(http)], http)


def kserve(model: BenchModel, folder: Path) -> Launch:
    python = installed("kserve")
    http, grpc = free_port(), free_port()
    return Launch([python, SERVED / "kserve_server.py", onnx_file(model, folder), str(http), str(grpc)], http, grpc)


def mlserver(model: BenchModel, folder: Path) -> Launch:
    python = installed("mlserver")
    http, grpc = free_port(), free_port()
    settings: dict[str, Any] = {
        "host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": free_port(), "parallel_workers": 0,
        "debug": False,
    }  # fmt: skip
    described = {"name": "bench", "implementation": "mlserver_model.Onnx",
                 "parameters": {"uri": str(onnx_file(model, folder))}}  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(described))
    shutil.copy(SERVED / "mlserver_model.py", folder)
    return Launch([python.parent / "mlserver", "start", folder], http, grpc, folder=folder)


def litserve(model: BenchModel, folder: Path) -> Launch:
    python, http = installed("litserve"), free_port()
    return Launch([python, SERVED / "litserve_server.py", onnx_file(model, folder), str(http)], http, folder=folder)


def bentoml(model: BenchModel, folder: Path) -> Launch:
    python, http = installed("bentoml"), free_port()
    own = {"BENCH_MODEL": str(onnx_file(model, folder)), "BENTOML_HOME": str(folder / "home"),
           "BENTOML_DO_NOT_TRACK": "true"}  # fmt: skip
    command: list[str | Path] = [
        python.parent / "bentoml", "serve", "bentoml_service:Onnx", "--host", "127.0.0.1", "--port", str(http),
        "--working-dir", SERVED,
    ]  # fmt: skip
    return Launch(command, http, environment=own)


def triton(model: BenchModel, folder: Path) -> Launch:
    python, version = installed("triton"), ".".join(str(part) for part in sys.version_info[:2])
    packages = python.parents[1] / f"lib/python{version}/site-packages"
    server = packages / "pytriton/tritonserver"
    stub = server / f"python_backend_stubs/{version}/triton_python_backend_stub"
    backends = folder / "backends"
    shutil.copytree(server / "backends", backends)
    shutil.copy(stub, backends / "python")
    _triton_repository(model, folder)
    http, grpc = free_port(), free_port()
    command: list[str | Path] = [
        server / "bin/tritonserver", "--model-repository", folder / "repository", "--backend-directory", backends,
        "--http-address", "127.0.0.1", "--http-port", str(http), "--grpc-address", "127.0.0.1", "--grpc-port",
        str(grpc), "--metrics-port", str(free_port()),
        "--backend-config", f"python,shm-region-prefix-name={folder.name}",
    ]  # fmt: skip
    # The backend's stub embeds an interpreter, which finds its packages by the first `python` of PATH.
    libraries = f"{packages / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}"
    own = {"LD_LIBRARY_PATH": libraries, "PATH": f"{python.parent}:{os.environ['PATH']}"}
    return Launch(command, http, grpc, environment=own)


def _triton_repository(model: BenchModel, folder: Path) -> None:
    version = folder / "repository/bench/1"
    version.mkdir(parents=True)
    shutil.copy(SERVED / "triton_model.py", version / "model.py")
    filled = {
        "input": model.input,
        "dims": ", ".join(str(size) for size in model.shape[1:]),
        "output": model.graph.graph.output[0].name,
        "file": onnx_file(model, folder),
    }
    (version.parent / "config.pbtxt").write_text((SERVED / "triton_config.pbtxt").read_text() % filled)


def installed(name: str) -> Path:
    """The Python of a peer's environment; raises NotInstalled."""
    return environment(PEERS / "locks" / f"{name}.txt", name) / "bin/python"


def onnx_file(model: BenchModel, folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save(model.graph, path)
    return path


OURS = System("tidegate", ("json", "binary", "grpc"), tidegate)
BARE = System("bare", ("binary",), bare)
ALL = {
    "bare": BARE,
    "kserve": System("KServe", ("kserve", "binary", "grpc"), kserve),
    "mlserver": System("MLServer", ("json", "grpc"), mlserver),
    "litserve": System("LitServe", ("litserve",), litserve),
    "bentoml": System("BentoML", ("bentoml",), bentoml),
    "triton": System("Triton (Python backend)", ("json", "binary", "grpc"), triton),
}
