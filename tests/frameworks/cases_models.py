"""The models of examples/models: each script packs one, serves its golden samples, and answers something known."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tests.frameworks.case import Case

ROOT = Path(__file__).resolve().parents[2]


def cases() -> list[Case]:
    return [
        _case("risk", "tabular risk"),
        _case("recommender", "recommender", data="users.npz"),
        _case("text", "text classification"),
        _case("filetype", "file typing (magika)", "python json html c"),
        _case("voice", "voice activity (silero-vad)", "speech in silence 0.0", "in the voice 0.9"),
        _case("ocr", "OCR (rapidocr-onnxruntime)", "Tidegate 2026", dims={"width": 160}),
    ]


def _case(name: str, model: str, *said: str, data: str = "", dims: dict[str, int] | None = None) -> Case:
    return Case("models", f"examples/models/{name}.py", model, _run(name, said), data, dims or {})


def _run(name: str, said: tuple[str, ...]) -> Callable[[Path], str]:
    """Runs the script, which must say that; its bundle's graph is what is packed again."""

    def make(folder: Path) -> str:
        done = subprocess.run(
            [sys.executable, str(ROOT / f"examples/models/{name}.py"), str(folder / "first")],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'runtime_image'}"},  # the server that `check` runs
        )
        wanted = ("golden samples differ by", *said)
        if done.returncode or any(words not in done.stdout for words in wanted):
            raise AssertionError(f"{done.stdout[-300:]} {done.stderr[-500:]}")
        np.savez(folder / "users.npz", user=np.arange(300))
        return str(folder / "first" / "model.onnx")

    return make
