"""Packages that only benchmarks need: installed by uv from a lock with hashes, below build/, once per lock."""

from __future__ import annotations

import hashlib
import os
import ssl
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
UV = ROOT / ".venv/uv/bin/uv"


class NotInstalled(Exception):
    """The installer's last line, for a table or a message."""


def unpacked(lock: Path, name: str) -> Path:
    """The files of the locked packages without what those depend on; raises NotInstalled."""
    folder = BUILD / "bench/packages" / name
    if not _is_there(folder, lock):
        _uv("pip", "install", "--no-deps", "--require-hashes", "--target", folder, "--requirement", lock)
        _remember(folder, lock)
    return folder


def environment(lock: Path, name: str) -> Path:
    """A virtual environment with just the locked packages; raises NotInstalled."""
    folder = BUILD / "peers" / name
    if not _is_there(folder, lock):
        print(f"installing {name} into {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
        _uv("venv", "--clear", "--python", sys.executable, folder)
        _uv("pip", "sync", "--python", folder / "bin/python", "--require-hashes", lock)
        _remember(folder, lock)
    return folder


def _is_there(folder: Path, lock: Path) -> bool:
    mark = folder / ".lock"
    return mark.exists() and mark.read_text() == _digest(lock)


def _remember(folder: Path, lock: Path) -> None:
    (folder / ".lock").write_text(_digest(lock))


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def _trust() -> dict[str, str]:
    """As .ci/bootstrap.py: a company's own certificate authority is only where the machine keeps what it trusts."""
    if cafile := os.environ.get("PIP_CERT"):
        return {"SSL_CERT_FILE": cafile}
    return {"UV_SYSTEM_CERTS": "1"} if ssl.get_default_verify_paths().cafile else {}


def _uv(*arguments: str | Path) -> None:
    command = [str(UV), "--quiet", *(str(argument) for argument in arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**_trust(), **os.environ})
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise NotInstalled(said[-1].strip() if said else f"uv ended with {done.returncode}")
