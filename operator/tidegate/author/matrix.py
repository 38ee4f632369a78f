"""`tidegate matrix`: a bundle's golden samples under other ONNX Runtimes, providers and threads than those of here.

Each version lives in a temporary environment that is removed before the next one is made, also on Ctrl-C.  A cell is a
process of its own there: a version that crashes costs its cell and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.author.isolated import find_uv, temporary_folder, uv_settings
from tidegate.bundle.golden import GoldenSample, compare_outputs, read_samples
from tidegate.bundle.manifest import BundleDir
from tidegate.endings import signal_name
from tidegate.errors import Failed, UsageError

CELL = Path(__file__).with_name("matrix_cell.py")
LATEST = "latest"
COLUMNS = ("onnxruntime", "provider", "threads", "result", "worst error", "of allowed", "ms")
VERSION = re.compile(r"\d+\.\d+(\.\d+)?")
MOST_THREADS = 1024
SECONDS = 600  # of one cell
OLD = (1, 19)  # before it ONNX Runtime was built for numpy 1
LENGTH = 300  # characters of a reason


@dataclass(frozen=True, slots=True)
class Provider:
    """Which package brings a provider, what ONNX Runtime calls it, and whose tolerance its answers are held to."""

    package: str
    name: str
    device: str = "cpu"


PROVIDERS: Mapping[str, Provider] = {
    "cpu": Provider("onnxruntime", "CPUExecutionProvider"),
    "cuda": Provider("onnxruntime-gpu", "CUDAExecutionProvider", "cuda"),
    "tensorrt": Provider("onnxruntime-gpu", "TensorrtExecutionProvider", "tensorrt"),
    "openvino": Provider("onnxruntime-openvino", "OpenVINOExecutionProvider"),
    "coreml": Provider("onnxruntime", "CoreMLExecutionProvider"),
    "directml": Provider("onnxruntime-directml", "DmlExecutionProvider"),
}


@dataclass(frozen=True, slots=True)
class Axes:
    """What is tried with what: versions as `1.23`, `1.23.2` or `latest`, providers of the table above, threads."""

    versions: tuple[str, ...]
    providers: tuple[str, ...] = ("cpu",)
    threads: tuple[int, ...] = (1,)

    def check(self) -> None:
        """Raise UsageError for what cannot be asked for."""
        if not (self.versions and self.providers and self.threads):
            raise UsageError("name at least one version, one provider and one number of threads")
        for version in self.versions:
            if version != LATEST and not VERSION.fullmatch(version):
                raise UsageError(f"'{version}' is no version", where="--onnxruntime", do="write 1.23, 1.23.2 or latest")
        for provider in self.providers:
            if provider not in PROVIDERS:
                raise UsageError(f"there is no '{provider}'", where="--provider", do=f"use {', '.join(PROVIDERS)}")
        if not all(1 <= count <= MOST_THREADS for count in self.threads):
            raise UsageError(f"must be 1 to {MOST_THREADS}", where="--threads")

    def cells(self, version: str, package: str) -> list[Cell]:
        """Those that are tried in one environment."""
        providers = [provider for provider in self.providers if PROVIDERS[provider].package == package]
        return [Cell(version, provider, threads) for provider in providers for threads in self.threads]

    def environments(self) -> list[tuple[str, str]]:
        """Version and package of each environment that is needed."""
        packages = dict.fromkeys(PROVIDERS[provider].package for provider in self.providers)
        return [(version, package) for version in self.versions for package in packages]


@dataclass(frozen=True, slots=True)
class Cell:
    """One try: how far its worst output was off (`used`: as a share of the tolerance), or why there was none."""

    asked: str
    provider: str
    threads: int
    version: str = ""  # of the ONNX Runtime that was there
    ok: bool = False
    worst: float = 0.0
    used: float = 0.0
    milliseconds: float = 0.0
    reason: str = ""

    def document(self) -> dict[str, Any]:
        return {
            "onnxruntime": self.version,
            "asked": self.asked,
            "provider": self.provider,
            "threads": self.threads,
            "ok": self.ok,
            "worst": self.worst if np.isfinite(self.worst) else None,  # other shapes: no distance
            "ofAllowed": self.used if np.isfinite(self.used) else None,
            "milliseconds": self.milliseconds,
            "reason": self.reason,
        }

    def row(self) -> tuple[object, ...]:
        """Under `COLUMNS`."""
        ran = bool(self.milliseconds)
        return (
            self.version or self.asked,
            self.provider,
            self.threads,
            "ok" if self.ok else "failed",
            f"{self.worst:.3g}" if ran else "-",
            f"{self.used:.1%}" if ran else "-",
            f"{self.milliseconds:.1f}" if ran else "-",
        )

    def why(self, threads: str = "") -> str:
        """A sentence about its failure."""
        return f"onnxruntime {self.version or self.asked}, {self.provider}{threads}: {self.reason}"


def usual_versions(bundle: BundleDir) -> tuple[str, ...]:
    """What is tried where nobody says: the version that it was packed with, and the newest."""
    return tuple(filter(None, (bundle.manifest.model.minimum_runtime, LATEST)))


Told = Callable[[int, int, str], None]  # cells done, cells in all, what is done now


def run_matrix(bundle: BundleDir, axes: Axes, told: Told | None = None, *, secrets: Path | None = None) -> list[Cell]:
    """Every cell, environment by environment; raises Failed without golden samples, MissingExtra without uv.

    Samples and answers are written for the cells' processes: into the folder `secrets` where one is given.
    """
    axes.check()
    samples = read_samples(bundle)
    if not samples:
        raise Failed("there are no golden samples", where=str(bundle.path), do="pack it with --golden generated")
    uv, tell = find_uv("tidegate matrix"), told or _silent
    total = len(axes.versions) * len(axes.providers) * len(axes.threads)
    cells: list[Cell] = []
    for version, package in axes.environments():
        tell(len(cells), total, f"installing {package} {version}")
        with temporary_folder() as environment, temporary_folder(secrets) as folder:
            trouble = _installed(uv, package, version, environment / "env")
            room = _Room(bundle, samples, environment / "env/bin/python", folder)
            for cell in axes.cells(version, package):
                tell(len(cells), total, f"{package} {version}, {cell.provider}, threads {cell.threads}")
                cells.append(replace(cell, reason=trouble) if trouble else room.tried(cell))
    return cells


def _silent(done: int, total: int, what: str) -> None:
    """Nobody is told."""


def _installed(uv: str, package: str, version: str, environment: Path) -> str:
    """Make an environment; why it could not be made, or nothing."""
    wanted = package if version == LATEST else f"{package}=={version}{'' if version.count('.') > 1 else '.*'}"
    old = version != LATEST and tuple(int(part) for part in version.split(".")[:2]) < OLD
    packages = [wanted, "numpy<2" if old else "numpy"]
    return _done([uv, "venv", "--quiet", "--python", sys.executable, str(environment)]) or _done(
        [uv, "pip", "install", "--quiet", "--python", str(environment / "bin" / "python"), *packages]
    )


def _done(command: Sequence[str]) -> str:
    """Run one step of uv's; its reason when it fails."""
    done = subprocess.run(
        command, capture_output=True, text=True, env={**uv_settings(), **os.environ}, check=False, errors="replace"
    )
    return "" if done.returncode == 0 else f"uv: {' '.join(done.stderr.split())[:LENGTH] or 'failed without a word'}"


@dataclass(frozen=True, slots=True)
class _Room:
    """An environment in which cells are tried one after the other, and a folder for what they are asked and answer."""

    bundle: BundleDir
    samples: Sequence[GoldenSample]
    python: Path
    folder: Path

    def tried(self, cell: Cell) -> Cell:
        """The cell with what came of it."""
        self._write_request(cell)
        told = self._run()
        cell = replace(cell, version=str(told.get("onnxruntime", "")), milliseconds=float(told.get("milliseconds", 0)))
        return replace(cell, reason=str(told["error"])) if "error" in told else self._compared(cell)

    def _write_request(self, cell: Cell) -> None:
        manifest = self.bundle.manifest
        request = {
            "model": str(self.bundle.path.resolve() / manifest.model.file),
            "provider": PROVIDERS[cell.provider].name,
            "threads": cell.threads,
            "samples": [list(sample.inputs) for sample in self.samples],
            "types": {tensor.name: tensor.element_type for tensor in manifest.interface.inputs},
            "outputs": [tensor.name for tensor in manifest.interface.outputs],
        }
        (self.folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        for number, sample in enumerate(self.samples):
            stored: dict[str, Any] = {f"i{place}": _plain(array) for place, array in enumerate(sample.inputs.values())}
            np.savez(self.folder / f"input{number}.npz", **stored)

    def _run(self) -> Mapping[str, Any]:
        """The cell's process; what it says, or an `error`."""
        command = [str(self.python), "-I", str(CELL), str(self.folder / "request.json")]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, check=False, errors="replace"
            )
        except subprocess.TimeoutExpired:
            return {"error": f"it took more than {SECONDS} s"}
        if done.returncode == 0:
            found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return found
        if done.returncode < 0:
            return {"error": f"it was ended by {signal_name(-done.returncode)}"}
        return {"error": " ".join(done.stderr.split())[-LENGTH:] or f"it ended with exit code {done.returncode}"}

    def _compared(self, cell: Cell) -> Cell:
        """By the comparison that a server makes."""
        golden, interface = self.bundle.manifest.golden, self.bundle.manifest.interface
        rules, names = golden.tolerance if golden else (), [tensor.name for tensor in interface.outputs]
        for number, sample in enumerate(self.samples):
            actual = dict(zip(names, _answers(self.folder / f"output{number}.npz"), strict=True))
            for found in compare_outputs(sample, actual, interface, rules, PROVIDERS[cell.provider].device):
                cell = replace(cell, worst=max(cell.worst, found.worst), used=max(cell.used, found.excess))
                if found.message and not cell.reason:
                    cell = replace(cell, reason=f"sample {number}, output '{found.output}': {found.message}")
        return replace(cell, ok=not cell.reason)


def _answers(path: Path) -> Iterator[Any]:
    with np.load(path) as stored:
        for place in range(len(stored.files)):
            array = stored[f"o{place}"]
            yield array.astype(object) if array.dtype.kind == "U" else array


def _plain(array: Any) -> Any:
    return array.astype(str) if array.dtype.kind == "O" else array
