"""A Chromium for the tests: the machine's, or Debian's package unpacked beside the tests' other programs; no root.

`TIDEGATE_CHROMIUM` names one; else the first of `NAMES` on the PATH.  On a machine with apt whose Chromium is missing,
apt downloads `chromium-headless-shell` with the libraries that are missing too, by the machine's own sources and keys
but with lists and archives of our own: apt's are root's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.control_plane.programs import cache, locked, say

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = ("chromium-headless-shell", "fonts-inter", "fonts-dejavu-core")
PROGRAM = "usr/lib/chromium/chromium-headless-shell"
LIBRARIES = ("usr/lib/*-linux-gnu", "usr/lib/*-linux-gnu/pulseaudio", "lib/*-linux-gnu")
FLAGS = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
HOW = "install chromium or google-chrome, or set TIDEGATE_CHROMIUM to its path"


@dataclass(frozen=True, slots=True)
class Chromium:
    """How it is started."""

    program: Path
    environment: dict[str, str | float | bool] = field(default_factory=dict)

    @property
    def flags(self) -> list[str]:
        return [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]  # root's has no user to go down to


def find() -> Chromium:
    """A Chromium; RuntimeError says how to get one where it cannot be fetched."""
    if named := os.environ.get("TIDEGATE_CHROMIUM"):
        return Chromium(Path(named))
    if there := next((path for name in NAMES if (path := shutil.which(name))), None):
        return Chromium(Path(there))
    return unpacked()


def unpacked() -> Chromium:
    """Debian's, fetched once on this machine."""
    home = cache() / "chromium"
    with locked(cache() / "chromium.lock"):
        if not (home / PROGRAM).exists():
            fetch(home)
    folders = [str(path) for pattern in LIBRARIES for path in home.glob(pattern)]
    fonts = home / "fonts.conf"
    fonts.write_text(FONTS.format(home=home))
    return Chromium(home / PROGRAM, {"LD_LIBRARY_PATH": ":".join(folders), "FONTCONFIG_FILE": str(fonts)})


FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{home}/usr/share/fonts</dir><cachedir>{home}/fontcache</cachedir>
<alias><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
<alias><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
<alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias></fontconfig>
"""


def fetch(home: Path) -> None:
    """Unpack the packages; the folder appears only when it is whole."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise RuntimeError(f"there is no Chromium, and no apt to fetch one: {HOW}")
    say("fetching Debian's chromium-headless-shell (once on this machine, 100 MB)")
    with tempfile.TemporaryDirectory(dir=cache(), prefix="fetching-") as folder:
        made, archives = Path(folder) / "made", Path(folder) / "archives"
        for place in ("lists/partial", "archives/partial", "made"):
            (Path(folder) / place).mkdir(parents=True)
        options = [
            "-o", f"Dir::State::Lists={folder}/lists", "-o", f"Dir::Cache={folder}", "-o", f"Dir::Cache::archives={archives}",
            "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=", "-qq",
        ]  # fmt: skip
        run(["apt-get", *options, "update"])
        run(
            [
                "apt-get",
                *options,
                "install",
                "--yes",
                "--no-install-recommends",
                "--download-only",
                "--reinstall",
                *PACKAGES,
            ]
        )
        for package in archives.glob("*.deb"):
            run(["dpkg-deb", "-x", str(package), str(made)])
        shutil.rmtree(home, ignore_errors=True)
        made.replace(home)


def run(command: Sequence[str]) -> None:
    done = subprocess.run(["nice", "-n", "10", *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[-500:]}: {HOW}")
