"""`tidegate-runtime prove URI`: the whole bundle fetched, loaded and its golden samples run on the CPU.

For rollouts that replace a running pod: whatever is wrong with the new bundle shows before the old one is touched.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from tidegate.bundle.fetch import DEFAULT_LIMITS, fetch
from tidegate.bundle.manifest import read_bundle_dir
from tidegate.bundle.preflight import preflight_manifest, preflight_model
from tidegate.bundle.reader import BundleReader
from tidegate_runtime.bundle_source import add_source_arguments, source_of
from tidegate_runtime.check import check
from tidegate_runtime.outcome import add_log_argument, answer, fitting
from tidegate_runtime.resolve import read_labels, resolution


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source_arguments(parser)
    parser.add_argument("--work", metavar="DIR", type=Path, help="where there is room for the bundle [temporary files]")
    add_log_argument(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Prove; the exit code."""
    return answer(lambda: _prove(arguments), arguments.termination_log)


def _prove(arguments: argparse.Namespace) -> dict[str, Any]:
    source = source_of(arguments)
    reader = BundleReader(source, DEFAULT_LIMITS)
    try:
        resolved = reader.resolve()
        preflight_manifest(resolved.manifest)
        labels = read_labels(reader, resolved.manifest)
    finally:
        reader.close()
    with tempfile.TemporaryDirectory(dir=arguments.work, prefix="tidegate-prove-") as folder:
        here = Path(folder) / "bundle"
        fetch(replace(source, digest=resolved.digest), here)
        preflight_model(read_bundle_dir(here))
        checked = check(here, "cpu")
    proof = {"samples": checked["samples"], "seconds": checked["seconds"], "outputs": checked["outputs"]}
    return fitting(resolution(resolved, labels) | {"proof": proof}, ("labels", "interface", "metrics"))
