"""A machine inside the machine, for one command: namespaces and cgroups of its own, and nothing of it left afterwards.

`run` starts the command below `tests.e2e.node.inside`, which is process 1 of a PID namespace: when it ends, the kernel
ends everything that was started there, unmounts all and takes the network away.  It ends with the command, and when the
pipe on its stdin closes, which SIGKILL of the starter does too.  What is left then are files and empty cgroups; the next
run removes them first.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

NAME = "tidegate-e2e"
NEEDED = frozenset({"blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"})
NAMESPACES = ("--mount", "--net", "--pid", "--ipc", "--uts", "--cgroup")
# $1…: the cgroups to enter, then `--` and the command.
ENTER = 'while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs" || exit; shift; done; shift; exec "$@"'
# What a node needs, in small.
TRIED = """
set -e
mount -t proc proc /proc
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay -o lowerdir=/usr,upperdir=/mnt/upper,workdir=/mnt/work overlay /usr
ip link set lo up
"""
INSIDE = "TIDEGATE_E2E_NODE"  # its value is the node's folder
EMPTY_SECONDS = 20.0
LOOK_SECONDS = 0.05
MOST_RUNS = 12


class Impossible(Exception):
    """This machine cannot have a node inside it: why."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted tree of cgroups (version 1), and our part of it, below the cgroup that we are in."""

    options: str  # that mount it: controllers, or name=…
    mounted: Path
    part: Path

    @property
    def controllers(self) -> set[str]:
        return set(self.options.split(","))

    def make(self) -> None:
        self.part.mkdir()
        if "cpuset" in self.controllers:  # empty ones take no process
            for name in ("cpuset.cpus", "cpuset.mems"):
                (self.part / name).write_text((self.part.parent / name).read_text())

    def remove(self) -> None:
        """Every part of that name, wherever a killed run was, once its processes are gone: they are dying."""
        end = time.monotonic() + EMPTY_SECONDS
        for part in self.mounted.rglob(self.part.name):
            for folder in sorted((path for path in [part, *part.rglob("*")] if path.is_dir()), reverse=True):
                while not removed(folder):
                    if time.monotonic() > end:
                        raise Impossible(f"processes of an earlier run are still in {folder}")
                    select.select([], [], [], LOOK_SECONDS)


def removed(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def hierarchies(name: str = NAME) -> list[Hierarchy]:
    """Those of this machine, from the kernel's own list."""
    ours = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        root, mounted = before.split()[3:5]
        told = set(options.split(","))
        options = next((names for names in ours if set(names.split(",")) <= told), "") if kind == "cgroup" else ""
        if options:
            place = os.path.normpath(Path(mounted) / os.path.relpath(ours[options], root) / name)
            found.append(Hierarchy(options, Path(mounted), Path(place)))
    return found


def lacking() -> str:
    """Why there can be no node here; empty where there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it needs Linux and root"
    missing = [name for name in ("apt-get", "dpkg-deb", "unshare", "ip", "mount") if not shutil.which(name)]
    if missing:
        return f"it needs the commands {', '.join(missing)} (a Debian machine)"
    without = NEEDED - {name for one in hierarchies() for name in one.controllers}
    if without:
        return f"it needs cgroups of version 1, here without {', '.join(sorted(without))}"
    try:
        for tree in hierarchies(f"{NAME}-tried-{os.getpid()}"):
            tree.make()
            tree.part.rmdir()
    except OSError as error:
        return f"it needs the right to make cgroups: {error}"
    tried = subprocess.run(
        ["unshare", *NAMESPACES, "--fork", "sh", "-c", TRIED], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        return f"it needs the right to make namespaces and to mount: {tried.stderr.strip()}"
    return ""


@contextlib.contextmanager
def claimed(name: str, *, cgroups: bool = True) -> Iterator[tuple[Path, list[Hierarchy]]]:
    """A folder that no other run on this machine uses, empty, and cgroups of the same name; both go when this ends.

    What a killed run left is removed by the next.
    """
    for number in range(MOST_RUNS):
        folder = Path(tempfile.gettempdir()) / f"{name}-{number}"
        with folder.with_suffix(".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            trees = hierarchies(folder.name) if cgroups else []
            remove_all(trees, folder)
            try:
                folder.mkdir(mode=0o711)
                for tree in trees:
                    tree.make()
                yield folder, trees
            finally:
                remove_all(trees, folder)
            return
    raise Impossible(f"{MOST_RUNS} other runs are going on")


def remove_all(trees: Sequence[Hierarchy], folder: Path) -> None:
    for tree in trees:
        tree.remove()
    shutil.rmtree(folder, ignore_errors=True)


def run(command: Sequence[str], packages: Path, name: str = NAME) -> int:
    """The command's exit status; it runs in a machine of its own, whose /usr holds the packages too."""
    with claimed(name) as (folder, trees):
        told = [f"{tree.options}={tree.mounted}" for tree in trees]
        inside = [sys.executable, "-m", "tests.e2e.node.inside", str(folder), str(packages), *told, "--", *command]
        process = subprocess.Popen(
            ["sh", "-c", ENTER, "sh", *(str(tree.part) for tree in trees), "--", "unshare", *NAMESPACES, "--fork", *inside],
            stdin=subprocess.PIPE, env={**os.environ, INSIDE: str(folder)},
        )  # fmt: skip
        assert process.stdin
        signal.signal(signal.SIGTERM, lambda *_: process.stdin and process.stdin.close())
        try:
            return process.wait()
        except KeyboardInterrupt:  # the command has got it too, and ends in its own order
            return process.wait()
        finally:
            process.stdin.close()
            process.wait()


if __name__ == "__main__":
    sys.exit(run(sys.argv[2:], Path(sys.argv[1])))
