"""Which runs there are on this machine.  Apart from what they remember: `tidegate status` has no time to load that."""

from __future__ import annotations

import fcntl
import hashlib
import os
from io import FileIO
from pathlib import Path
from typing import Any

from tidegate.local.files import read_json


def runs_folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "tidegate" / "runs"


def default_state(manifest: Path) -> Path:
    """The folder of a manifest that was given no `--state`: the same one at the next start."""
    full = manifest.resolve()
    return runs_folder() / f"{full.stem}-{hashlib.sha256(str(full).encode()).hexdigest()[:8]}"


def known_states() -> list[Path]:
    """Every state folder that a run on this machine has used and that still exists."""
    folder = runs_folder()
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [entry.resolve() for entry in found if (entry / "run.json").is_file()]


def running(folder: Path) -> bool:
    """Whether a runner holds the lock of a state folder now."""
    try:
        with FileIO(folder / "lock", "r") as file:
            return not locked(file, fcntl.LOCK_SH)
    except OSError:
        return False


def locked(file: FileIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def run_of(folder: Path) -> dict[str, Any]:
    """What commands need to find a run, as it was last written."""
    found = read_json(folder / "run.json")
    return found if isinstance(found, dict) else {}


def names_in(folder: Path) -> list[str]:
    """The deployments that a state folder knows, those of the manifest first read."""
    named = run_of(folder).get("deployments")
    return [str(name) for name in named] if isinstance(named, list) else []


def running_with(name: str | None) -> list[Path]:
    """State folders whose runs live and serve that deployment (any, without a name)."""
    return [folder for folder in known_states() if running(folder) and (not name or name in names_in(folder))]
