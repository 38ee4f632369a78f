"""Where a model came from: the commit its code stood at, and the packages that turned it into a bundle.

The folder may be anybody's, so Git is kept from running what the repository's own configuration names: file system
monitors, hooks, filters, the transports that fetch missing objects, and all of that in its submodules.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tidegate.bundle.manifest import Source
from tidegate.errors import Invalid

PACKAGES = ("numpy", "onnx", "onnxruntime", "tidegate")
CREDENTIALS = re.compile(r"(?<=://)[^/@]*@")
GIT_SECONDS = 10
QUIET = ("core.fsmonitor=false", f"core.hooksPath={os.devnull}", "safe.bareRepository=explicit")
BROUGHT = ("local", "worktree")  # scopes of configuration that come with a repository
FILTER = re.compile(r"(filter\..*)\.(?:clean|smudge|process|required)", re.DOTALL)


def git_source(folder: Path) -> Source | None:
    """The repository and commit that `folder` belongs to; None outside Git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    remote = CREDENTIALS.sub("", _git(folder, "remote", "get-url", "origin") or "")
    return Source(remote, commit, _is_changed(folder))


def _is_changed(folder: Path) -> bool:
    """Whether tracked files are not those of the commit; true as well where that cannot be told without risk."""
    filters = _filters(folder)
    if filters is None or any("=" in name for name in filters):  # Git would take such a setting for another one
        return True
    off = [f"{name}.{option}" for name in filters for option in ("clean=", "smudge=", "process=", "required=false")]
    changes = ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty")
    return _git(folder, *changes, settings=off) != ""


def _filters(folder: Path) -> set[str] | None:
    """The filters that the repository itself brings, in files that it includes as well; None if Git cannot say."""
    told = _git(folder, "config", "--list", "--includes", "--show-scope", "--name-only", "--null")
    if told is None:
        return None
    words = told.split("\0")
    found = (FILTER.fullmatch(key) for scope, key in zip(words[::2], words[1::2], strict=False) if scope in BROUGHT)
    return {match[1] for match in found if match}


def _git(folder: Path, *arguments: str, settings: Sequence[str] = ()) -> str | None:
    """What Git answers; None when it fails."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_ALLOW_PROTOCOL": "none"}
    options = [word for setting in (*QUIET, *settings) for word in ("-c", setting)]
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *options, *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=GIT_SECONDS,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


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
