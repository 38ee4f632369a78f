"""Where a model came from: the commit its code stood at, and the packages that turned it into a bundle."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tidegate.bundle.manifest import Source
from tidegate.errors import Invalid

PACKAGES = ("numpy", "onnx", "onnxruntime", "tidegate")
CREDENTIALS = re.compile(r"(?<=://)[^/@]*@")
GIT_SECONDS = 10


def git_source(folder: Path) -> Source | None:
    """The repository and commit that `folder` belongs to; None outside Git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    remote = CREDENTIALS.sub("", _git(folder, "remote", "get-url", "origin"))
    return Source(remote, commit, bool(_git(folder, "status", "--porcelain", "--untracked-files=no")))


def _git(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def environment(packages: tuple[str, ...] = ()) -> dict[str, str]:
    """The versions of Python and of the packages that made the bundle."""
    found = {"python": platform.python_version()}
    for name in sorted({*PACKAGES, *packages}):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def created_at(given: str) -> str:
    """The time that the manifest records: given, or of SOURCE_DATE_EPOCH; never the clock's, bytes would differ."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given or not epoch:
        return given
    if not epoch.isdigit():
        raise Invalid(f"SOURCE_DATE_EPOCH is '{epoch[:40]}', not a number of seconds", where="the environment")
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(epoch)))
