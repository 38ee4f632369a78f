"""`tidegate-runtime prove URI`: the whole bundle fetched, loaded and its golden samples run on the CPU.

For rollouts that replace a running pod: whatever is wrong with the new bundle shows before the old one is touched.
An encrypted one is decrypted into memory for as long as this takes.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tidegate.bundle.fetch import DEFAULT_LIMITS, fetch
from tidegate.bundle.manifest import BundleDir, read_bundle_dir
from tidegate.bundle.preflight import preflight_manifest, preflight_model
from tidegate.bundle.reader import BundleReader
from tidegate_runtime.bundle_source import add_source_arguments, keys_for, source_of
from tidegate_runtime.check import check
from tidegate_runtime.outcome import add_log_argument, answer, fitting
from tidegate_runtime.resolve import read_labels, resolution


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source_arguments(parser)
    parser.add_argument("--work", metavar="DIR", type=Path, help="where there is room for the bundle [temporary files]")
    parser.add_argument(
        "--memory", metavar="DIR", type=Path, help="where there is room in memory for a decrypted one [/dev/shm]"
    )
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
        keys = keys_for(resolved.manifest, arguments)
        labels = read_labels(reader, resolved.manifest)
    finally:
        reader.close()
    with tempfile.TemporaryDirectory(dir=arguments.work, prefix="tidegate-prove-") as folder:
        here = Path(folder) / "bundle"
        fetch(replace(source, digest=resolved.digest), here)
        with _plain(read_bundle_dir(here), keys, arguments) as plain:
            preflight_model(plain)
            checked = check(plain.path, "cpu")
    proof = {"samples": checked["samples"], "seconds": checked["seconds"], "outputs": checked["outputs"]}
    return fitting(resolution(resolved, labels) | {"proof": proof}, ("labels", "interface", "metrics"))


@contextlib.contextmanager
def _plain(bundle: BundleDir, keys: list[Any], arguments: argparse.Namespace) -> Iterator[BundleDir]:
    """The bundle that can be read: itself, or what an encrypted one decrypts to."""
    if bundle.manifest.encryption is None:
        yield bundle
        return
    from tidegate.bundle.encryption import decrypted_in_memory

    with decrypted_in_memory(bundle.path, keys, str(arguments.identity), arguments.memory) as plain:
        yield read_bundle_dir(plain)
