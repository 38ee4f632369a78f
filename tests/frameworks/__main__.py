"""Every format times many kinds of models, packed and compared: one environment per framework, deleted after.

    python -m tests.frameworks [--only FRAMEWORK]… [--quick] [--write]

Ends with 1 when a model is refused that should not be, or packed that should be refused.  `--write` puts the table
into docs/frameworks.md.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.frameworks import table, without_cuda

from tidegate.author.isolated import environment

ROOT = Path(__file__).resolve().parents[2]
# Models that ship inside packages: only their files are used, so nothing that the packages need is installed.
WHEELS = ("magika==1.0.3", "pillow>=11", "rapidocr-onnxruntime==1.4.4", "silero-vad==6.2.3")
# Cases -> the extras that they need, and further packages of theirs.  One environment for all with the same.
FRAMEWORKS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "onnx": (("runtime",), ()),
    "sklearn": (("sklearn",), ("pandas",)),
    "boosted": (("xgboost", "lightgbm", "catboost"), ("pandas",)),
    "keras": (("tensorflow",), ()),
    "tensorflow": (("tensorflow",), ()),
    "tflite": (("tensorflow",), ()),
    "jax": (("jax",), ("equinox",)),
    "onnxscript": (("onnxscript",), ()),
    "torch": (("torch",), without_cuda.NEEDED),
    "huggingface": (("huggingface",), without_cuda.NEEDED),
    "models": (("sklearn",), ("--no-deps", *WHEELS)),
}
QUICK = {"onnx": None, "sklearn": None, "boosted": None, "keras": 1, "torch": 1}  # how many cases; None: all


def main() -> int:
    options = arguments()
    chosen = [name for name in FRAMEWORKS if name in (options.only or (QUICK if options.quick else FRAMEWORKS))]
    wrong = 0
    for needs in dict.fromkeys(FRAMEWORKS[name] for name in chosen):
        print(f"-- an environment with {', '.join(needs[0])}", flush=True)
        with environment_of(*needs) as python:
            for name in [name for name in chosen if FRAMEWORKS[name] == needs]:
                rows = list(run(python, name, QUICK.get(name) if options.quick else None))
                wrong += sum("failed" in row for row in rows)
                if options.write and not options.quick:
                    table.write(ROOT / "docs/frameworks.md", name, rows)
    print(f"{wrong} cases are not as they should be" if wrong else "every case is as it should be")
    return 1 if wrong else 0


@contextlib.contextmanager
def environment_of(extras: tuple[str, ...], further: tuple[str, ...]) -> Iterator[Path]:
    """An environment with these extras, torch as small as these tests can do with."""
    if further != without_cuda.NEEDED:
        with environment(extras, further) as python:
            yield python
        return
    with without_cuda.left_out(), environment(extras, further) as python:
        without_cuda.put_stubs(python)
        yield python


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make frameworks")
    parser.add_argument("--only", action="append", choices=list(FRAMEWORKS), help="this framework, and others so named")
    parser.add_argument("--quick", action="store_true", help="the set that CI runs")
    parser.add_argument("--write", action="store_true", help="put the table into docs/frameworks.md")
    return parser.parse_args()


def run(python: Path, framework: str, most: int | None) -> Iterator[dict[str, Any]]:
    """A row per case; a process that dies takes only the case with it that it was at."""
    cases = importlib.import_module(f"tests.frameworks.cases_{framework}").cases()[:most]
    done = 0
    while done < len(cases):
        for row in rows_from(python, framework, done, len(cases) - done):
            done += 1
            print(table.line(framework, row), flush=True)
            yield row
        if done < len(cases):
            lost = {
                "format": cases[done].format,
                "model": cases[done].model,
                "failed": "the process died",
                "seconds": 0,
            }
            done += 1
            print(table.line(framework, lost), flush=True)
            yield lost


def rows_from(python: Path, framework: str, first: int, count: int) -> Iterator[dict[str, Any]]:
    command = [str(python), "-m", "tests.frameworks.inside", framework, str(first), str(count)]
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    with (
        tempfile.TemporaryFile("w+") as told,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told, errors="replace", cwd="/", env=env) as process,
    ):
        assert process.stdout
        for text in process.stdout:
            if text.startswith("{"):
                yield json.loads(text)
        if process.wait():
            told.seek(0)
            print(told.read()[-2000:], file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
