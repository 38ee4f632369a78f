"""Layers that are made once: a build takes from an earlier one what comes of the same.

A layer is found by its key, a digest of all that it is made of: the layers below, the instruction and its variables,
the files that it copies, and this program.  As with Docker's cache, secrets and what an index holds are no part of it:
each wheel is named by its hash.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

UNUSED_SECONDS = 7 * 24 * 3600.0  # after so long without a build that takes it, a layer is removed
BUILDING = "building-"
MOST_TOLD = 110  # characters of what is told of a layer


@dataclass(frozen=True, slots=True)
class Layer:
    """A folder of files, an overlay's upper one, that nobody changes any more; and the key of what it is made of."""

    path: Path
    key: str


class Layers:
    """Makes layers in the folder `work`, unless `kept` has them from earlier builds (None: each is made)."""

    def __init__(self, work: Path, kept: Path | None = None) -> None:
        self.work = work
        self._kept = kept
        self._made: list[Layer] = []
        self._program = program()

    def layer(self, called: str, *made_of: Any, make: Callable[[Path], object]) -> Layer:
        """The layer that `make` puts into the folder that it is given; `made_of` is JSON that says what comes out.

        `called` is told to the user while it is made.
        """
        key = digest(self._program, *made_of)[:32]  # short, as the kernel takes a page of overlay's options
        if self._kept is not None and (earlier := self._kept / key).is_dir():
            os.utime(earlier)
            return Layer(earlier, key)
        sys.stderr.write(f"{called[:MOST_TOLD]}\n")
        folder = self.work / f"{len(self._made)}"
        folder.mkdir(mode=0o755)
        make(folder)
        self._made.append(made := Layer(folder, key))
        return made

    def keep(self) -> None:
        """Hand on to later builds what this one made; after that it makes nothing."""
        if self._kept is None or not self._made:
            return
        # A name must never be on the disk before what it names is: a machine may lose its power.
        subprocess.run(["sync", "--file-system", self._kept], check=True)
        for layer in self._made:
            try:
                layer.path.rename(self._kept / layer.key)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise  # those say that a build beside this one was sooner


def program() -> str:
    """A digest of this builder, and of whom its files belong to: who is root here may be somebody else outside."""
    sources = {path.name: path.read_text() for path in sorted(Path(__file__).parent.glob("*.py"))}
    return digest(sources, Path("/proc/self/uid_map").read_text().split())


def digest(*told: Any) -> str:
    """Of JSON, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@contextmanager
def building(cache: Path, *, anew: bool) -> Iterator[Layers]:
    """Layers in a folder that goes when the build ends, on a disk that can carry overlays; `cache` keeps them.

    What is finished is kept of a build that fails, too.  `anew`: nothing is taken from an earlier build, or kept.
    """
    kept = cache / "layers"
    kept.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("a") as lock:
        tidied(cache, lock)
        fcntl.flock(lock, fcntl.LOCK_SH)
        with tempfile.TemporaryDirectory(dir=cache, prefix=BUILDING) as name:
            layers = Layers(Path(name), None if anew else kept)
            try:
                yield layers
            finally:
                layers.keep()


def tidied(cache: Path, lock: IO[str]) -> None:
    """Remove what no build uses any more, unless one is under way."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    long_ago = time.time() - UNUSED_SECONDS
    unused = [path for path in (cache / "layers").iterdir() if path.stat().st_mtime < long_ago]
    for path in (*cache.glob(f"{BUILDING}*"), *unused):  # the former are of builds that were killed
        shutil.rmtree(path)
