"""Who gets which core, and what becomes of a server that ends too early."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.bench.served import Said, divided, running
from tidegate.client import NotConnected
from tidegate.errors import Failed, UsageError


@pytest.mark.parametrize(
    ("cores", "wanted", "server", "own"),
    [
        ([0, 1, 2, 3], None, {0, 1, 2}, {3}),
        ([0, 1, 2, 3], 1, {0}, {1, 2, 3}),
        ([4, 6], None, {4}, {6}),
        ([0], None, {0}, {0}),
        ([0], 1, {0}, {0}),
    ],
)
def test_the_load_generator_has_a_core_of_its_own_where_there_are_two(
    cores: list[int], wanted: int | None, server: set[int], own: set[int]
) -> None:
    assert divided(cores, wanted) == (server, own)


def test_a_server_cannot_have_all_cores() -> None:
    with pytest.raises(UsageError, match="take 1 or fewer"):
        divided([0, 1], 2)


@pytest.mark.parametrize(
    ("ending", "how"),
    [
        ("sys.exit(3)", "with exit code 3"),
        ("os.kill(os.getpid(), 9)", "by SIGKILL"),
        ("os.kill(os.getpid(), 37)", "by signal 37"),
    ],
)
@pytest.mark.parametrize("error", [NotConnected("refused"), Failed("none was answered"), None])
def test_a_server_that_has_ended_explains_what_went_wrong(
    tmp_path: Path, ending: str, how: str, error: Exception | None
) -> None:
    process = subprocess.Popen([sys.executable, "-c", f"import os, sys; {ending}"], text=True)
    process.wait()
    said = Said(tmp_path)
    said.log.write_text("started\nout of memory\n")

    with pytest.raises(Failed, match=f"it ended {how}: out of memory"), running(process, said):
        if error:
            raise error


def test_what_goes_wrong_while_the_server_runs_is_its_own_reason(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], text=True, stdin=subprocess.PIPE) as process:
        with pytest.raises(UsageError, match="not so"), running(process, Said(tmp_path)):
            raise UsageError("not so")
        with pytest.raises(NotConnected, match="refused"), running(process, Said(tmp_path)):
            raise NotConnected("refused")
