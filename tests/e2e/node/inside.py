"""Process 1 of the machine inside the machine: mounts what is its own, runs the command, collects the dead.

`python -m tests.e2e.node.inside FOLDER PACKAGES OPTIONS=CGROUP-MOUNT… -- COMMAND…`, from `boundary.run`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

# A kubelet writes these, and they are the whole machine's: it gets files that look the same.
TUNED = (
    "kernel/keys/root_maxbytes", "kernel/keys/root_maxkeys", "kernel/panic", "kernel/panic_on_oops",
    "vm/overcommit_memory", "vm/panic_on_oom",
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    at = arguments.index("--")
    folder, packages, *trees = arguments[:at]
    make_machine(Path(folder), Path(packages), trees)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # the command gets them too
    threading.Thread(target=end_with_the_starter, daemon=True).start()
    command = subprocess.Popen(arguments[at + 1 :], stdin=subprocess.DEVNULL)
    while True:
        dead, status = os.wait()
        if dead == command.pid:
            return os.waitstatus_to_exitcode(status) % 256


def end_with_the_starter() -> None:
    sys.stdin.read()
    os._exit(1)


def make_machine(folder: Path, packages: Path, trees: Iterable[str]) -> None:
    """File systems of our own over the machine's; the network is loopback alone."""
    mount("-t", "proc", "proc", "/proc")
    shields = folder / "shields"
    shields.mkdir()
    for name in TUNED:
        real, shield = Path("/proc/sys") / name, shields / name.replace("/", ".")
        shield.write_text(real.read_text())
        mount("--bind", shield, real)
    run("umount", "--recursive", "--lazy", "/sys")  # runc would find the outer cgroups first
    mount("-t", "sysfs", "sysfs", "/sys")
    mount("-t", "tmpfs", "cgroups", "/sys/fs/cgroup")
    for tree in trees:
        options, _, mounted = tree.rpartition("=")
        Path(mounted).mkdir(parents=True, exist_ok=True)
        mount("-t", "cgroup", "-o", options, "cgroup", mounted)
    mount("-t", "tmpfs", "run", "/run")
    mount("-t", "overlay", "-o", f"lowerdir={packages / 'usr'}:/usr", "programs", "/usr")
    upper, work = folder / "var", folder / "var.work"
    for place in (upper, work):
        place.mkdir()
    mount("-t", "overlay", "-o", f"lowerdir=/var,upperdir={upper},workdir={work}", "var", "/var")
    run("ip", "link", "set", "lo", "up")


def mount(*arguments: str | Path) -> None:
    run("mount", *arguments)


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
