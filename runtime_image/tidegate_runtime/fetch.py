"""`tidegate-runtime fetch URI DIR`: the init step of a pod; the server then finds a whole, verified bundle.

Of an encrypted bundle DIR gets the ciphertext, and `--plain` what it decrypts to: that is what the server reads then.
The static checks of the graph are done here: they need `onnx`, which the server itself never imports.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from tidegate.bundle.manifest import BundleDir
from tidegate.errors import UsageError
from tidegate_runtime.bundle_source import add_source_arguments, keys_for, source_of
from tidegate_runtime.outcome import add_log_argument, answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source_arguments(parser)
    parser.add_argument("directory", metavar="DIR", type=Path, help="new directory for the bundle")
    parser.add_argument(
        "--plain",
        metavar="DIR",
        type=Path,
        default=os.environ.get("TIDEGATE_PLAIN"),
        help="new directory, in memory, for what an encrypted bundle decrypts to",
    )
    add_log_argument(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Fetch; the exit code."""
    return answer(lambda: _fetch(arguments), arguments.termination_log)


def _fetch(arguments: argparse.Namespace) -> dict[str, Any]:
    from tidegate.bundle.fetch import fetch
    from tidegate.bundle.manifest import read_bundle_dir
    from tidegate.bundle.preflight import preflight_model

    fetched = fetch(source_of(arguments), arguments.directory)
    bundle = read_bundle_dir(fetched.path)
    plain = _decrypted(bundle, arguments) if bundle.manifest.encryption else None
    preflight_model(plain or bundle)
    return {
        "digest": fetched.digest,
        **({"plainDigest": plain.digest} if plain else {}),
        "version": fetched.manifest.version,
        "bytesRead": fetched.bytes_read,
        "hit": fetched.hit,
        "seconds": round(fetched.seconds, 3),
    }


def _decrypted(bundle: BundleDir, arguments: argparse.Namespace) -> BundleDir:
    from tidegate.bundle.encryption import decrypt_once

    if arguments.plain is None:
        raise UsageError(
            "the bundle is encrypted", where=arguments.uri, do="say where its plain text may be: --plain DIR"
        )
    # A pod's init step may run again when its Secret is gone, or holds another key, and the plain text is there.
    where = str(arguments.identity)
    return decrypt_once(bundle.path, arguments.plain, lambda: keys_for(bundle.manifest, arguments), where)
