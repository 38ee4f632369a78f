"""What a node needs besides Go programs, from Debian: downloaded and unpacked into the cache, never installed.

containerd's package would start a daemon here and iptables' would change what the machine's own commands mean.  The
files are laid over /usr where the tests run, and nowhere else.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.control_plane.programs import Tell, cache, locked

PACKAGES = ("busybox-static", "containerd", "containernetworking-plugins", "iptables", "runc")
# The links that iptables' package makes when it is installed.
LINKS = {
    f"usr/sbin/{name}{verb}": "xtables-nft-multi"
    for name in ("iptables", "ip6tables")
    for verb in ("", "-save", "-restore")
}


class NoPackages(Exception):
    """apt cannot give them: its words."""


def unpacked(tell: Tell) -> Path:
    """The folder that holds the packages' `usr`; they are fetched once on a machine."""
    key = hashlib.sha256(" ".join((*PACKAGES, *LINKS)).encode()).hexdigest()[:8]
    folder = cache().parent / f"packages-{key}"
    with locked(cache().parent / "packages.lock"):
        if not folder.exists():
            tell(f"fetching {', '.join(PACKAGES)} by apt (some seconds; unpacked into {folder}, not installed)")
            with tempfile.TemporaryDirectory(dir=cache().parent, prefix="packages-new-") as made:
                fetch(Path(made))
                shutil.move(Path(made) / "root", folder)
    return folder


def fetch(folder: Path) -> None:
    """The packages and what this machine lacks of what they need, under `folder`/root."""
    lists, archives, root = folder / "lists", folder / "cache/archives", folder / "root"
    for place in (lists / "partial", archives / "partial", root):
        place.mkdir(parents=True)
    own = [
        "-qq",
        "-o",
        f"Dir::State::lists={lists}",
        "-o",
        f"Dir::Cache={folder / 'cache'}",
        "-o",
        "Debug::NoLocking=true",
    ]
    run("apt-get", *own, "update")
    run("apt-get", *own, "install", "--reinstall", "--download-only", "--no-install-recommends", "-y", *PACKAGES)
    for package in archives.glob("*.deb"):
        run("dpkg-deb", "--extract", package, root)
    shutil.copytree(root / "bin", root / "usr/bin", dirs_exist_ok=True)  # one folder on a machine
    for name, target in LINKS.items():
        (root / name).symlink_to(target)


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoPackages(f"{' '.join(map(str, command))}: {done.stderr}{done.stdout}")
