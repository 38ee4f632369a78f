"""What runs inside the boundary cannot be seen outside, and is gone when its starter is, however that ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.control_plane.programs import say
from tests.e2e.node import boundary
from tests.e2e.node.packages import unpacked
from tests.waiting import wait_until

NAME = "tidegate-e2e-boundary"
STARTED = """\
import sys
from pathlib import Path
from tests.e2e.node import boundary
sys.exit(boundary.run(sys.argv[3:], Path(sys.argv[1]), sys.argv[2]))
"""
pytestmark = pytest.mark.skipif(bool(boundary.lacking()), reason=boundary.lacking())


@pytest.fixture(scope="session")
def packages() -> Path:
    return unpacked(say)


def start(packages: Path, script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", STARTED, str(packages), NAME, "sh", "-c", script], stdout=subprocess.PIPE, text=True
    )


def finished(packages: Path, script: str) -> tuple[int, str]:
    """Exit status and output."""
    process = start(packages, script)
    told, _ = process.communicate(timeout=60)
    return process.returncode, told


def traces() -> list[str]:
    """Processes, mounts and cgroups of a run."""
    cgroups = [str(part) for tree in boundary.hierarchies() for part in tree.mounted.rglob(f"{NAME}-*")]
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if NAME in line]
    commands = (
        path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if int(path.parent.name) != os.getpid()
    )
    return [*cgroups, *mounts, *(str(command) for command in commands if NAME.encode() in command)]


def test_it_ends_as_its_command_does_and_leaves_nothing(packages: Path) -> None:
    assert finished(packages, "exit 7") == (7, "")
    assert traces() == []
    assert not list(Path(tempfile.gettempdir()).glob(f"{NAME}-?/"))


def test_network_tuning_and_files_are_its_own(packages: Path) -> None:
    tuned = Path("/proc/sys/vm/overcommit_memory")
    before = tuned.read_text()

    status, told = finished(
        packages,
        f"echo 1 > {tuned}; echo x > /var/of-the-boundary; ip link add some type bridge; ip -o link | wc -l; ls /sys/class/net",
    )

    assert (status, told.split()) == (0, ["2", "lo", "some"])
    assert tuned.read_text() == before
    assert not Path("/var/of-the-boundary").exists()


def test_its_programs_come_from_the_packages(packages: Path) -> None:
    status, told = finished(packages, "containerd --version && runc --version && iptables --list --numeric")

    assert status == 0
    assert "Chain FORWARD (policy ACCEPT)" in told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_everything_ends_with_the_starter_and_the_next_run_cleans_up(packages: Path, number: signal.Signals) -> None:
    process = start(packages, "setsid sleep 1000 & echo started; wait")
    assert process.stdout
    assert process.stdout.readline() == "started\n"

    process.send_signal(number)
    process.communicate(timeout=30)

    wait_until(lambda: [one for one in traces() if "cgroup" not in one] == [], "no process and no mount is left")
    assert finished(packages, "echo again") == (0, "again\n")
    assert traces() == []


def test_two_runs_do_not_meet(packages: Path) -> None:
    first = start(packages, "ip link add some type bridge; echo started; sleep 1000")
    assert first.stdout
    try:
        assert first.stdout.readline() == "started\n"
        assert finished(packages, "ip -o link | wc -l") == (0, "1\n")
    finally:
        first.terminate()
        first.communicate(timeout=30)
