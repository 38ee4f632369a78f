"""A containerd of the tests' own: its folders, its socket, no part of the machine's; and images that many begin with."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from tests.e2e.node.boundary import claimed
from tests.waiting import wait_until

SETTINGS = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{folder}/socket"
"""
NAMESPACE = "k8s.io"  # the kubelet's
SECONDS = 600.0  # of one command: to import an image takes minutes while all else wants the processors too
IMPORTED = "TIDEGATE_E2E_IMPORTED"  # its value is the folder that `imported` gives


@dataclass(frozen=True, slots=True)
class Containerd:
    folder: Path

    def ctr(self, *words: str) -> str:
        """What containerd's own command says; fails with its complaint."""
        done = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def load(self, archive: Path) -> None:
        self.ctr("images", "import", str(archive))

    def digest(self, name: str) -> str:
        [found] = [line.split() for line in self.ctr("images", "ls").splitlines() if line.startswith(f"{name} ")]
        return found[2]

    def run(self, name: str, *command: str, seen: Path | None = None) -> list[str]:
        """The command that runs an image as a pod may: its root read-only, `seen` at /mnt, the machine's network."""
        mounts = ["--mount", "type=tmpfs,src=tmpfs,dst=/tmp,options=mode=1777"]
        if seen is not None:
            mounts += ["--mount", f"type=bind,src={seen},dst=/mnt,options=rbind:ro"]
        return self.command(
            "run", "--rm", "--net-host", "--read-only", *mounts, name, f"test-{uuid4().hex[:8]}", *command
        )

    def command(self, *words: str) -> list[str]:
        """The words of containerd's own command."""
        return ["ctr", "--address", str(self.folder / "socket"), "--namespace", NAMESPACE, *words]


@contextmanager
def started(folder: Path) -> Iterator[Containerd]:
    if not all(map(shutil.which, ("containerd", "ctr", "runc"))):
        pytest.fail("containerd and runc are not installed: `make e2e` brings them", pytrace=False)
    (folder / "settings.toml").write_text(SETTINGS.format(folder=folder))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["containerd", "--config", str(folder / "settings.toml")], stdout=log, stderr=log)
    daemon = Containerd(folder)
    try:
        asked = daemon.command("version")
        wait_until(
            lambda: subprocess.run(asked, capture_output=True, check=False).returncode == 0,
            lambda: f"containerd answers: {(folder / 'log').read_text()[-3000:]}",
        )
        yield daemon
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextmanager
def imported(archives: Iterable[Path]) -> Iterator[Path]:
    """The root folder of a containerd that was given these images and has ended."""
    with claimed("tidegate-e2e-images", cgroups=False) as (folder, _):
        with started(folder) as daemon:
            for archive in archives:
                daemon.load(archive)
        yield folder / "root"


def taken_over(imported: Path, root: Path) -> None:
    """Make the root folder of a containerd that has not started yet: on the same disk, in seconds instead of a minute.

    No container writes the files of an image, so that they are shared; the databases that list them are not.
    """
    subprocess.run(["cp", "--archive", "--link", imported, root], check=True)
    for database in root.glob("*/*.db"):
        shutil.copy2(database, own := database.with_suffix(".own"))
        own.replace(database)
