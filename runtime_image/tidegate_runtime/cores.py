"""How many cores this process may use: its affinity (which a cpuset narrows) and the quotas of its control groups.

A pod's CPU limit is a quota of its control group, and any group around it may have a smaller one.  Version 1 has a
hierarchy per controller, version 2 one for all, and machines in between have both mounted; a container may see its own
group as the root of the mount, or be told a path that exists only outside of it.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path("/")
V1, V2 = "cgroup", "cgroup2"


def usable_cores(root: Path = ROOT, affinity: int | None = None) -> float:
    """Cores that can be kept busy, above 0 and perhaps no whole number; `affinity`: how many it may run on."""
    allowed = _affinity() if affinity is None else affinity
    return min([float(allowed), *_quotas(root)])


def whole_cores(cores: float) -> int:
    """How many threads keep `cores` busy: half a core and more is worth one."""
    return max(1, math.floor(cores + 0.5))


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """Cores that each group from our own outwards allows; nothing where no limit is set or known."""
    for kind, folder in _groups(root):
        quota = _v2_quota(folder) if kind == V2 else _v1_quota(folder)
        if quota is not None:
            yield quota


def _v2_quota(group: Path) -> float | None:
    """`cpu.max` is "QUOTA PERIOD" in microseconds, or "max PERIOD"."""
    return _cores(_read(group / "cpu.max").strip())


def _v1_quota(group: Path) -> float | None:
    """The same in two files; -1 is no limit."""
    return _cores(" ".join(_read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")))


def _cores(quota_and_period: str) -> float | None:
    found = re.fullmatch(r"([1-9][0-9]{0,17}) ([1-9][0-9]{0,17})", quota_and_period)
    return int(found[1]) / int(found[2]) if found else None


def _groups(root: Path) -> Iterator[tuple[str, Path]]:
    """Our group of each hierarchy that can limit the CPU, and those around it as far as they are mounted."""
    ours = dict(_memberships(root))
    for kind, mounted_group, mounted_at in _mounts(root):
        if kind in ours:
            top = root / mounted_at.relative_to("/")
            inside = _below(ours[kind], mounted_group)
            yield from ((kind, top / part) for part in (inside, *inside.parents))


def _memberships(root: Path) -> Iterator[tuple[str, PurePosixPath]]:
    """From lines like "4:cpu,cpuacct:/kubepods/pod1/abc" (version 1) and "0::/kubepods/pod1/abc" (version 2)."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if path.startswith("/") and (number, controllers) == ("0", ""):
            yield V2, PurePosixPath(path)
        elif path.startswith("/") and "cpu" in controllers.split(","):
            yield V1, PurePosixPath(path)


def _mounts(root: Path) -> Iterator[tuple[str, PurePosixPath, PurePosixPath]]:
    """Kind, the group that is mounted, and where; see proc(5) on mountinfo."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        group, place = (*before.split(" ")[3:5], "", "")[:2]
        kind, *_, options = after.split(" ") if " " in after else (after, "")
        if place.startswith("/") and (kind == V2 or (kind == V1 and "cpu" in options.split(","))):
            yield kind, PurePosixPath(group), PurePosixPath(place)


def _below(group: PurePosixPath, mounted: PurePosixPath) -> PurePosixPath:
    """Our group as a path below the mount; its top where the mount shows no more than our own group."""
    inside = group.relative_to(mounted) if group.is_relative_to(mounted) else PurePosixPath()
    return PurePosixPath() if ".." in inside.parts else inside


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
