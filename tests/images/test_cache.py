"""Layers that are taken from earlier builds: when they are, when they must not be, and when they go."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.images.context import Context, listed

from image_build.layers import UNUSED_SECONDS, Layers

# Each RUN that runs writes its word into a cache.
RUN = "RUN --mount=type=cache,target=/run/counted echo {} >> /run/counted/runs\n"
FILE = (
    "ARG VERSION=1\n"
    "FROM base AS tool\nCOPY package/script /opt/\n" + RUN.format("tool") +
    "FROM base AS parent\nENV COLOUR=red\n" + RUN.format("parent") +
    "FROM parent AS image\nARG VERSION\nCOPY package /opt/\nCOPY --from=tool /opt/script /opt/\n" + RUN.format("image")
)  # fmt: skip


class Counted(Context):
    """Its base has a shell and a `mkdir` of this machine's."""

    def runs(self) -> Counter[str]:
        """How often each RUN ran since this was asked last."""
        said = self.folder / "cache/counted/runs"
        found = Counter(said.read_text().split()) if said.exists() else Counter()
        said.unlink(missing_ok=True)
        return found

    def kept(self) -> set[Path]:
        return set((self.folder / "cache/layers").iterdir())


@pytest.fixture
def counted(context: Context) -> Counted:
    root = context.folder / "root"
    for name in ("dev", "proc", "run", "etc", "cache/counted"):
        (root / name if "/" not in name else context.folder / name).mkdir()
    for name in ("resolv.conf", "hosts"):
        (root / "etc" / name).touch()
    programs = ("/bin/sh", "/bin/mkdir")
    linked = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    for name in (*programs, *set(re.findall(r"(/\S+) \(", linked))):
        (root / name[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, root / name[1:])
    return Counted(context.folder)


def test_what_an_earlier_build_made_is_not_made_again(counted: Counted) -> None:
    first = counted.image(FILE)
    assert counted.runs() == {"tool": 1, "parent": 1, "image": 1}

    again = counted.image(FILE)

    assert counted.runs() == {}
    assert again == first


@pytest.mark.parametrize(
    ("old", "new", "made_again"),
    [
        ("VERSION=1", "VERSION=2", {"image": 1}),
        ("COLOUR=red", "COLOUR=blue", {"parent": 1, "image": 1}),
        (RUN.format("parent"), RUN.format("parent  parent"), {"parent": 2, "image": 1}),
        (RUN.format("tool"), RUN.format("tool  tool"), {"tool": 2, "image": 1}),
        ("FROM base AS parent\n", "FROM base AS parent\nWORKDIR /tmp\n", {}),
        ("COPY package /opt/\n", "COPY package /opt/package\n", {"image": 1}),
    ],
)
def test_a_changed_instruction_makes_its_layer_and_those_above_it_again(
    counted: Counted, old: str, new: str, made_again: dict[str, int]
) -> None:
    counted.image(FILE)
    counted.runs()

    counted.image(FILE.replace(old, new))

    assert counted.runs() == made_again


@pytest.mark.parametrize(
    ("command", "made_again"),
    [
        ("echo other > module.py", {"image": 1}),
        ("echo other > script", {"tool": 1, "image": 1}),
        ("chmod -x script", {"tool": 1, "image": 1}),
        ("mv module.py renamed.py", {"image": 1}),
        ("mkdir more", {"image": 1}),
        ("ln -s script linked", {"image": 1}),
        ("echo other > left.so", {}),
        ("touch module.py", {}),
        ("chmod g+w module.py", {}),
    ],
)
def test_a_changed_file_of_the_checkout_makes_what_it_is_in_again(
    counted: Counted, command: str, made_again: dict[str, int]
) -> None:
    counted.image(FILE)
    counted.runs()

    subprocess.run(["sh", "-c", command], cwd=counted.folder / "context/package", check=True)
    counted.image(FILE)

    assert counted.runs() == made_again


def test_what_a_copy_takes_from_the_layers_below_is_theirs_of_now(counted: Counted) -> None:
    text = "FROM base AS image\nRUN mkdir -m {} /opt\nCOPY package/script /opt/\n"
    counted.image(text.format("711"))

    changed = counted.image(text.format("700"))

    assert listed(changed["layers"][-1]) == {"opt": 0o700, "opt/script": 0o755}


def test_a_build_that_is_told_so_makes_everything_anew_and_keeps_nothing(counted: Counted) -> None:
    first = counted.image(FILE, anew=True)
    assert counted.kept() == set()

    counted.image(FILE)
    again = counted.image(FILE, anew=True)

    assert counted.runs() == {"tool": 3, "parent": 3, "image": 3}
    assert again == first


def test_a_build_that_fails_keeps_what_was_finished_and_nothing_else(counted: Counted) -> None:
    broken = FILE + "RUN echo half > /opt/half && exit 3\n"
    assert counted.build(broken).returncode == 1
    assert counted.runs() == {"tool": 1, "parent": 1, "image": 1}
    kept = counted.kept()

    assert counted.build(broken).returncode == 1

    assert counted.runs() == {}
    assert counted.kept() == kept
    assert [path for path in kept if (path / "opt/half").exists()] == []


def test_a_layer_that_no_build_has_taken_for_a_week_is_removed(counted: Counted) -> None:
    counted.image(FILE)
    old = time.time() - UNUSED_SECONDS - 60
    for layer in counted.kept():
        os.utime(layer, (old, old))

    counted.image(FILE)
    assert counted.runs() == {"tool": 2, "parent": 2, "image": 2}
    old_one, *others = sorted(counted.kept())
    os.utime(old_one, (old, old))
    counted.image("FROM base AS image\n")

    assert counted.kept() == set(others)


def test_a_layer_that_builds_take_stays_however_old_it_is(counted: Counted) -> None:
    counted.image(FILE)
    soon = time.time() - UNUSED_SECONDS + 3600
    for layer in counted.kept():
        os.utime(layer, (soon, soon))

    counted.image(FILE)

    assert all(layer.stat().st_mtime > soon + 60 for layer in counted.kept())


def test_the_folder_of_a_killed_build_is_removed_by_the_next_one_but_not_beside_another(counted: Counted) -> None:
    left = counted.folder / "cache/building-killed"
    (left / "0").mkdir(parents=True)
    with (counted.folder / "cache/lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        counted.image(FILE)
        assert left.exists()

    counted.image(FILE)

    assert not left.exists()


def test_two_builds_at_once_may_make_the_same_layer(tmp_path: Path) -> None:
    for name in ("one", "two", "kept"):
        (tmp_path / name).mkdir()
    both = [Layers(tmp_path / name, tmp_path / "kept") for name in ("one", "two")]
    made = [layers.layer("it", "RUN", make=lambda folder: (folder / "file").touch()) for layers in both]

    for layers in both:
        layers.keep()

    assert {layer.key for layer in made} == {path.name for path in (tmp_path / "kept").iterdir()}
