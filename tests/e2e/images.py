"""The project's images as the tests use them: built by the project's own script, and unpacked to be looked at and run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.namespaces import USER, namespaces

ROOT = Path(__file__).parents[2]
REGISTRY = "registry.example.com/ml"  # where a cluster thinks that they come from
TARGETS = ("cpu", "operator")
GIVEN = "TIDEGATE_E2E_IMAGES"  # its value says what `make e2e` has built: name, digest and archive of each target
NOBODY = 65532  # of the Containerfile
SHELLS = ("usr/bin/sh", "usr/bin/dash", "usr/bin/bash", "usr/bin/rbash")
# $1: the image's root, $2: a folder that it sees as /mnt; the rest is what runs.
CONTAINER = """
set -e
root=$1; seen=$2; shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
mount --bind "$seen" "$root/mnt"
mount -o remount,bind,ro "$root/mnt"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -o remount,bind,ro "$root"
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Image:
    """An archive of `image_build`: what it is called, and its digest."""

    name: str
    digest: str
    archive: Path

    def configuration(self) -> dict[str, Any]:
        """As a container's runtime reads it."""
        with tarfile.open(self.archive) as archive:
            return self._document(archive, self.manifest()["config"]["digest"])

    def manifest(self) -> dict[str, Any]:
        """Its configuration and layers by digest."""
        with tarfile.open(self.archive) as archive:
            return self._document(archive, self.digest)

    def members(self) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        """What is in its layers, lowest first."""
        with tarfile.open(self.archive) as archive:
            for layer in self._document(archive, self.digest)["layers"]:
                content = archive.extractfile(blob(layer["digest"]))
                with tarfile.open(fileobj=content) as members:
                    for member in members:
                        yield members, member

    def _document(self, archive: tarfile.TarFile, digest: str) -> dict[str, Any]:
        file = archive.extractfile(blob(digest))
        assert file is not None
        return dict(json.load(file))


def blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def build(
    folder: Path, *targets: str, options: Sequence[str] = (), environment: dict[str, str] | None = None, umask: int = -1
) -> dict[str, Image]:
    """Build images into `folder`; fails with what the build said."""
    done = subprocess.run(
        [sys.executable, "-m", "image_build", *targets, "--registry", REGISTRY, "--output", str(folder), *options],
        cwd="/", env={**os.environ, **(environment or {})}, umask=umask,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    found = [line.split() for line in done.stdout.splitlines() if line.startswith("sha256:")]
    return {
        target: Image(name, digest, Path(path)) for target, (digest, name, path) in zip(targets, found, strict=True)
    }


def given() -> dict[str, Image]:
    """Those that are built already."""
    found = json.loads(os.environ.get(GIVEN, "{}"))
    return {target: Image(name, digest, Path(archive)) for target, (name, digest, archive) in found.items()}


def handed_on(images: dict[str, Image]) -> str:
    """The value by which a process is given them."""
    return json.dumps({target: (one.name, one.digest, str(one.archive)) for target, one in images.items()})


@dataclass(frozen=True, slots=True)
class Unpacked:
    """An image's files in a folder, and what its layers say of them, lowest first."""

    image: Image
    root: Path
    members: list[tarfile.TarInfo]

    def command(self, *arguments: str, seen: Path | None = None) -> list[str]:
        """The command that runs the image as a restricted pod does: its entry point, its user, its root read-only.

        `seen` is a folder of this machine that it sees as /mnt.
        """
        here = namespaces()
        user = ["chroot", f"--userspec={NOBODY}:{NOBODY}", str(self.root)]
        if here == USER:
            user = [*here.somebody(NOBODY)[:-1], "--root", str(self.root), "--wd", "/tmp", "--"]
        inside = [*user, *self.image.configuration()["config"]["Entrypoint"], *arguments]
        return [*here.mounts, "sh", "-c", CONTAINER, "sh", str(self.root), str(seen or self.root / "mnt"), *inside]

    @property
    def environment(self) -> dict[str, str]:
        """Of the image alone."""
        pairs = (variable.partition("=") for variable in self.image.configuration()["config"]["Env"])
        return {name: value for name, _, value in pairs}


def unpacked(image: Image, root: Path) -> Unpacked:
    """Unpack an image, less its shells: what it starts must not need one."""
    root.mkdir(parents=True)
    members = []
    for layer, member in image.members():
        members.append(member)
        folder, _, name = member.name.rpartition("/")
        if name.startswith(".wh."):
            gone = root / folder / name.removeprefix(".wh.")
            shutil.rmtree(gone) if gone.is_dir() and not gone.is_symlink() else gone.unlink()
        else:
            layer.extraction_filter = lambda member, _: member
            layer.extract(member, root)
    for name in SHELLS:
        (root / name).unlink(missing_ok=True)
    (root / "mnt").mkdir(exist_ok=True)  # as a container's runtime makes its mount points
    return Unpacked(image, root, members)
