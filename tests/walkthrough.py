"""Pages whose commands work one after another, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_OURS = ("AWS_", "KUBE", "XDG_")  # what the machine says of stores and clusters


def walk(page: str, folder: Path, seconds: int, **environment: str) -> None:
    """Write the page's `python` files and run its `sh` blocks as one script.

    A command that fails, or a line of a `text` block that nothing printed, fails the test.
    """
    blocks = BLOCK.findall(page)
    for kind, name, text in blocks:
        if kind == "python":
            (folder / name).write_text(text)
    script = "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n"
    script += "".join(text for kind, _, text in blocks if kind == "sh")

    done = subprocess.run(
        ["timeout", str(seconds), "bash", "-c", script],
        cwd=folder, env=_environment(folder, **environment), capture_output=True, text=True, check=False,
    )  # fmt: skip

    logs = "".join(path.read_text() for path in folder.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    shown = [line for kind, _, text in blocks if kind == "text" for line in text.splitlines()]
    assert [line for line in shown if line not in done.stdout] == [], done.stdout


def _environment(home: Path, **more: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
    found = ours | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")} | more
    return found | {"PATH": f"{Path(sys.executable).parent}:{found['PATH']}"}
