"""Running a bundle's golden samples as a pod would: in the server's own process, on the server's own session."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tidegate.author.extras import need
from tidegate.bundle.encryption import decrypted_in_memory, read_identities
from tidegate.bundle.errors import GoldenMismatch
from tidegate.bundle.fetch import fetch
from tidegate.bundle.manifest import read_bundle_dir
from tidegate.bundle.source import Access, Source
from tidegate.bundle.verify import verify_dir
from tidegate.errors import Failed, Invalid, Temporary

SECONDS = 600


@contextlib.contextmanager
def here(ref: str, identity: Path | None = None) -> Iterator[Path]:
    """The bundle as a verified directory; a remote one is fetched, an encrypted one decrypted, while this lasts."""
    with _fetched(ref) as folder:
        if identity is None:
            _require_plain(folder)
            yield folder
            return
        with decrypted_in_memory(folder, read_identities(identity), str(identity)) as plain:
            yield plain


def _require_plain(folder: Path) -> None:
    if read_bundle_dir(folder).manifest.encryption is not None:
        raise Invalid("is encrypted", where=str(folder), do="name the age key: --identity FILE")


@contextlib.contextmanager
def _fetched(ref: str) -> Iterator[Path]:
    folder = Path(ref)
    if folder.is_dir():
        verify_dir(folder)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="tidegate-check-") as scratch:
        source = Source(ref, access=Access(allow_loopback=True, ambient=True))
        yield fetch(source, Path(scratch) / "bundle").path


def run_check(folder: Path, device: str) -> dict[str, Any]:
    """What `tidegate-runtime check` answers; raises GoldenMismatch, or Failed with its reason."""
    need("onnxruntime", extra="runtime")
    # -P: Python would import from the current folder first, where anybody's files may lie.
    command = [sys.executable, "-P", "-m", "tidegate_runtime", "check", str(folder), "--device", device]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"the check took more than {SECONDS} s", where=str(folder)) from None
    document = _last_object(done.stdout)
    if done.returncode == 0 and document is not None:
        return document
    raise _error(done.returncode, document or _last_object(done.stderr) or {}, folder, done.stderr)


def _last_object(text: str) -> dict[str, Any] | None:
    for line in reversed(text.strip().splitlines()):
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                return found
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        return found if isinstance(found, dict) else None
    return None


def _error(code: int, document: dict[str, Any], folder: Path, stderr: str) -> Exception:
    reason = str(document.get("reason", "")) or "CheckFailed"
    last = stderr.strip().splitlines()[-1:] or ["it said nothing"]
    message = str(document.get("message", "")) or f"the check ended with exit code {code}: {last[0][:300]}"
    if reason == GoldenMismatch.reason:
        return GoldenMismatch(message, where=str(folder))
    kind = Temporary if code == Temporary.exit_code else Failed
    return kind(message, where=str(folder), reason=reason)
