"""Where the limits of this process stand: the files of its control groups, of either version.

Version 1 has a hierarchy per controller, version 2 one for all, and machines in between have both mounted; a container
may see its own group as the root of the mount, or be told a path that exists only outside of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path("/")
V1: Final = "cgroup"
V2: Final = "cgroup2"


def groups(root: Path, controller: str) -> Iterator[tuple[str, Path]]:
    """The folder of our group, and of each around it, in every hierarchy that has `controller`; first its version."""
    ours = dict(_memberships(root, controller))
    for kind, mounted_group, mounted_at in _mounts(root, controller):
        if kind in ours:
            top = root / mounted_at.relative_to("/")
            inside = _below(ours[kind], mounted_group)
            yield from ((kind, top / part) for part in (inside, *inside.parents))


def _memberships(root: Path, controller: str) -> Iterator[tuple[str, PurePosixPath]]:
    """From lines like "4:cpu,cpuacct:/kubepods/pod1/abc" (version 1) and "0::/kubepods/pod1/abc" (version 2)."""
    for line in read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if path.startswith("/") and (number, controllers) == ("0", ""):
            yield V2, PurePosixPath(path)
        elif path.startswith("/") and controller in controllers.split(","):
            yield V1, PurePosixPath(path)


def _mounts(root: Path, controller: str) -> Iterator[tuple[str, PurePosixPath, PurePosixPath]]:
    """Kind, the group that is mounted, and where; see proc(5) on mountinfo."""
    for line in read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        group, place = (*before.split(" ")[3:5], "", "")[:2]
        kind, *_, options = after.split(" ") if " " in after else (after, "")
        if place.startswith("/") and (kind == V2 or (kind == V1 and controller in options.split(","))):
            yield kind, PurePosixPath(group), PurePosixPath(place)


def _below(group: PurePosixPath, mounted: PurePosixPath) -> PurePosixPath:
    """Our group as a path below the mount; its top where the mount shows no more than our own group."""
    inside = group.relative_to(mounted) if group.is_relative_to(mounted) else PurePosixPath()
    return PurePosixPath() if ".." in inside.parts else inside


def read(file: Path) -> str:
    """Its text; empty when it is not there."""
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
