"""The tutorial's commands, run as they stand on the page."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_command_of_the_tutorial_works_and_prints_what_the_page_shows(tmp_path: Path) -> None:
    page = PAGE.read_text().replace("8080", str(_free_port()))
    blocks = BLOCK.findall(page)
    for kind, name, text in blocks:
        if kind == "python":
            (tmp_path / name).write_text(text)
    script = "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n"
    script += "".join(text for kind, _, text in blocks if kind == "sh")

    done = subprocess.run(
        ["timeout", "200", "bash", "-c", script],
        cwd=tmp_path,
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )

    log = tmp_path / "run.log"
    assert done.returncode == 0, done.stdout + done.stderr + (log.read_text() if log.exists() else "")
    shown = [line for kind, _, text in blocks if kind == "text" for line in text.splitlines()]
    assert [line for line in shown if line not in done.stdout] == []


def _environment(home: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KUBE", "XDG_"))}
    return kept | {"PATH": path, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
