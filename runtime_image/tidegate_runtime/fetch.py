"""`tidegate-runtime fetch URI DIR`: the init step of a pod; the server then finds a whole, verified bundle.

The static checks of the graph are done here: they need `onnx`, which the server itself never imports.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tidegate_runtime.bundle_source import add_source_arguments, source_of
from tidegate_runtime.outcome import add_log_argument, answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source_arguments(parser)
    parser.add_argument("directory", metavar="DIR", type=Path, help="new directory for the bundle")
    add_log_argument(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Fetch; the exit code."""
    return answer(lambda: _fetch(arguments), arguments.termination_log)


def _fetch(arguments: argparse.Namespace) -> dict[str, Any]:
    from tidegate.bundle.fetch import fetch
    from tidegate.bundle.manifest import read_bundle_dir
    from tidegate.bundle.preflight import preflight_model

    fetched = fetch(source_of(arguments), arguments.directory)
    preflight_model(read_bundle_dir(fetched.path))
    return {
        "digest": fetched.digest,
        "version": fetched.manifest.version,
        "bytesRead": fetched.bytes_read,
        "hit": fetched.hit,
        "seconds": round(fetched.seconds, 3),
    }
