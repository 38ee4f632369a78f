"""How many cores this process may use: its affinity (which a cpuset narrows) and the quotas of its control groups.

A pod's CPU limit is a quota of its control group, and any group around it may have a smaller one.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from tidegate_runtime.control_groups import ROOT, V2, groups, read


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
    for kind, folder in groups(root, "cpu"):
        quota = _v2_quota(folder) if kind == V2 else _v1_quota(folder)
        if quota is not None:
            yield quota


def _v2_quota(group: Path) -> float | None:
    """`cpu.max` is "QUOTA PERIOD" in microseconds, or "max PERIOD"."""
    return _cores(read(group / "cpu.max").strip())


def _v1_quota(group: Path) -> float | None:
    """The same in two files; -1 is no limit."""
    return _cores(" ".join(read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")))


def _cores(quota_and_period: str) -> float | None:
    found = re.fullmatch(r"([1-9][0-9]{0,17}) ([1-9][0-9]{0,17})", quota_and_period)
    return int(found[1]) / int(found[2]) if found else None
