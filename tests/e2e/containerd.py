"""A containerd of the tests' own: its folders, its socket, no part of the machine's."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
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


@dataclass(frozen=True, slots=True)
class Containerd:
    folder: Path

    def ctr(self, *words: str) -> str:
        """What containerd's own command says; fails with its complaint."""
        done = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=120, check=False)
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
        pytest.fail("containerd and runc are not installed: `make e2e` installs them, as root", pytrace=False)
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
