"""Every command of docs/bench.md works as it stands there, only for a shorter time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.runtime import small_bundles as small
from tests.runtime.running_server import serve

from tidegate.cli.bench import bench

PAGE = (Path(__file__).resolve().parents[2] / "docs/bench.md").read_text()
COMMANDS = re.findall(r"```sh\n(tidegate bench .*?)\n```", PAGE, re.DOTALL)
Ran = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Runs a command in a folder with a bundle, for some seconds."""
    folder = tmp_path_factory.mktemp("page")
    small.write_bundle(folder / "bundle", small.linear(), small.linear_samples())

    def run(command: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["sh", "-c", f"{command} --duration 2s"], env={**os.environ, "PATH": path}, cwd=folder,
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip

    with serve(folder / "bundle", folder / "server", "--name", "fraud") as server:
        server.until_ready()
        yield lambda command: run(command.replace("localhost:8080", f"127.0.0.1:{server.http}"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_measures(ran: Ran, command: str) -> None:
    done = ran(command)

    assert done.returncode in (0, 1), done.stderr  # 1: on a busy machine the limit may not hold
    assert done.stderr == ""
    assert "fraud" in done.stdout


def test_the_page_has_its_commands_and_every_option() -> None:
    options = {option for parameter in bench.params for option in parameter.opts if option.startswith("--")}

    assert len(COMMANDS) == 3
    assert [option for option in options if f"`{option}" not in PAGE] == []
