"""The cores and the memory that may be used, read from control groups of every make: each case is a tree of files."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tidegate_runtime.cores import usable_cores, whole_cores
from tidegate_runtime.memory import copies

V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
MEMORY_MOUNT = "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
POD = "/kubepods.slice/pod1/abc"
AFFINITY = 8
Files = Mapping[str, str]


def machine(root: Path, cgroup: str, mounts: str, files: Files) -> Path:
    """A root folder with what the kernel would show in it."""
    kernel = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts, **files}
    for name, text in kernel.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def v1(group: str, quota: str, period: str = "100000") -> dict[str, str]:
    folder = f"sys/fs/cgroup/cpu,cpuacct{group}"
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


CASES: Mapping[str, tuple[str, str, Files, float]] = {
    "version 2 in a container's own namespace": (
        "0::/\n", V2_MOUNT, {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5,
    ),
    "version 2 without a limit": ("0::/\n", V2_MOUNT, {"sys/fs/cgroup/cpu.max": "max 100000\n"}, AFFINITY),
    "version 2, the root group, which has no file": ("0::/\n", V2_MOUNT, {}, AFFINITY),
    "version 2 with a path of its own": (
        f"0::{POD}\n", V2_MOUNT, {f"sys/fs/cgroup{POD}/cpu.max": "200000 100000"}, 2,
    ),
    "version 2, the group around has less": (
        f"0::{POD}\n", V2_MOUNT,
        {f"sys/fs/cgroup{POD}/cpu.max": "max 100000", "sys/fs/cgroup/kubepods.slice/pod1/cpu.max": "300000 100000",
         "sys/fs/cgroup/kubepods.slice/cpu.max": "700000 100000"}, 3,
    ),
    "version 2, another period": ("0::/\n", V2_MOUNT, {"sys/fs/cgroup/cpu.max": "50000 20000"}, 2.5),
    "version 2, less than one core": ("0::/\n", V2_MOUNT, {"sys/fs/cgroup/cpu.max": "25000 100000"}, 0.25),
    "version 2, more than may be run on": ("0::/\n", V2_MOUNT, {"sys/fs/cgroup/cpu.max": "6400000 100000"}, AFFINITY),
    "version 2, a namespace that does not hold us": (
        "0::/../../other\n", V2_MOUNT, {"sys/fs/cgroup/cpu.max": "200000 100000"}, 2,
    ),
    "version 1 on the machine itself": (f"4:cpu,cpuacct:{POD}\n3:memory:/x\n", V1_MOUNT, v1(POD, "250000"), 2.5),
    "version 1 without a limit": ("4:cpu,cpuacct:/\n", V1_MOUNT, v1("", "-1"), AFFINITY),
    "version 1, the group around has less": (
        f"4:cpu,cpuacct:{POD}\n", V1_MOUNT, v1(POD, "-1") | v1("/kubepods.slice/pod1", "100000"), 1,
    ),
    "version 1 in a container that sees its group as the root": (
        f"4:cpu,cpuacct:{POD}\n", V1_MOUNT.replace("0:29 /", f"0:29 {POD}"), v1("", "400000"), 4,
    ),
    "version 1 in a container that is told another path": (
        "4:cpu,cpuacct:/docker/abc\n", V1_MOUNT.replace("0:29 /", f"0:29 {POD}"), v1("", "400000"), 4,
    ),
    "both are mounted and version 1 has the CPU": (
        f"4:cpu,cpuacct:{POD}\n0::/\n", V1_MOUNT + V2_MOUNT.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified "),
        v1(POD, "200000"), 2,
    ),
    "only other controllers are mounted": ("3:memory:/x\n", MEMORY_MOUNT, {}, AFFINITY),
    "words that mean nothing": ("0::/\n", V2_MOUNT, {"sys/fs/cgroup/cpu.max": "lots of it\n"}, AFFINITY),
    "a period of nothing": ("0::/\n", V2_MOUNT, {"sys/fs/cgroup/cpu.max": "100000 0\n"}, AFFINITY),
    "lines that are cut off": ("0:\n4\n", "30 23\n- cgroup2\n", {}, AFFINITY),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_smallest_limit_counts_wherever_it_stands(case: str, tmp_path: Path) -> None:
    cgroup, mounts, files, cores = CASES[case]

    assert usable_cores(machine(tmp_path, cgroup, mounts, files), AFFINITY) == cores


def test_a_machine_that_has_no_control_groups_gives_what_may_be_run_on(tmp_path: Path) -> None:
    assert usable_cores(tmp_path, 3) == 3


def test_a_narrower_affinity_is_a_limit_as_a_cpuset_is(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/\n", V2_MOUNT, {"sys/fs/cgroup/cpu.max": "400000 100000"})

    assert usable_cores(root, 2) == 2


def test_this_machine_has_at_most_the_cores_it_may_run_on() -> None:
    assert 0 < usable_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("cores", "threads"), [(0.1, 1), (1.0, 1), (1.4, 1), (1.5, 2), (2.0, 2), (2.5, 3), (8.0, 8)])
def test_half_a_core_is_worth_a_thread(cores: float, threads: int) -> None:
    assert whole_cores(cores) == threads


PAGES = 10_000  # that this process has, in each of the cases below
GIB = 2**30
MEMORY: Mapping[str, tuple[str, str, Files, float]] = {
    "no control groups": ("", "", {}, math.inf),
    "version 2": ("0::/\n", V2_MOUNT, {"sys/fs/cgroup/memory.max": f"{GIB}\n"}, GIB),
    "version 2 without a limit": ("0::/\n", V2_MOUNT, {"sys/fs/cgroup/memory.max": "max\n"}, math.inf),
    "version 2, the group around has less": (
        f"0::{POD}\n", V2_MOUNT,
        {f"sys/fs/cgroup{POD}/memory.max": f"{2 * GIB}", "sys/fs/cgroup/kubepods.slice/memory.max": f"{GIB}"}, GIB,
    ),
    "version 1": (
        f"3:memory:{POD}\n", MEMORY_MOUNT, {f"sys/fs/cgroup/memory{POD}/memory.limit_in_bytes": f"{GIB}\n"}, GIB,
    ),
    "version 1 without a limit": (
        "3:memory:/\n", MEMORY_MOUNT, {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, math.inf,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MEMORY)
def test_the_smallest_memory_limit_says_how_many_processes_fit(case: str, tmp_path: Path) -> None:
    cgroup, mounts, files, limit = MEMORY[case]
    root = machine(tmp_path, cgroup, mounts, {**files, "proc/self/statm": f"50000 {PAGES} 900 1 0 1 0\n"})

    assert copies(root) == pytest.approx(0.8 * limit / (PAGES * os.sysconf("SC_PAGE_SIZE")))


def test_this_process_fits_into_its_own_memory() -> None:
    assert copies() > 1
