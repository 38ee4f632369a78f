"""A server begins with the allocator's settings, whoever starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from tests.control_plane.mounts import IMAGE

from tidegate_runtime.allocator import BEGUN, SETTINGS, VARIABLE, begin_with_settings

PROGRAM = f"""
import json, os, sys
print("began", flush=True)
if "WITHOUT" in os.environ:
    os.environ.pop("{VARIABLE}", None)
from tidegate_runtime.allocator import begin_with_settings
begin_with_settings()
print(json.dumps([os.getpid(), os.environ.get("{VARIABLE}"), sys.argv[1:], sys.flags.safe_path]))
"""
WORDS = ["serve", "--name", "two words"]
LOADER = next(iter(sorted(Path("/").glob("lib*/ld-linux-*.so.*"))), None)
needs_glibc = pytest.mark.skipif(LOADER is None, reason="no glibc here: there is nothing to set")


def begin(**environment: str) -> tuple[int, list[str]]:
    """A program that begins with the settings: its process, and its lines."""
    clean = {name: value for name, value in os.environ.items() if name not in (VARIABLE, BEGUN)}
    command = [sys.executable, "-P", "-c", PROGRAM, *WORDS]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean | environment)
    lines, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return process.pid, lines.splitlines()


@needs_glibc
def test_it_begins_again_once_in_the_same_process_with_the_same_words() -> None:
    pid, lines = begin()

    assert lines[:-1] == ["began", "began"]
    assert json.loads(lines[-1]) == [pid, SETTINGS, WORDS, True]


@needs_glibc
def test_what_the_user_has_set_counts() -> None:
    _, lines = begin(**{VARIABLE: "glibc.malloc.tcache_count=9"})
    _, given, _, _ = json.loads(lines[-1])

    told = subprocess.run(
        [str(LOADER), "--list-tunables"], capture_output=True, text=True, check=True, env={VARIABLE: given}, timeout=60
    ).stdout

    assert "glibc.malloc.tcache_count: 0x9 " in told
    assert "glibc.malloc.mxfast: 0x0 " in told


@needs_glibc
def test_it_begins_again_once_also_where_the_system_takes_the_settings_away() -> None:
    pid, lines = begin(WITHOUT="1")

    assert lines[:-1] == ["began", "began"]
    assert json.loads(lines[-1]) == [pid, None, WORDS, True]


@needs_glibc
def test_it_goes_on_without_them_where_it_cannot_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")

    begin_with_settings()

    assert os.environ == {VARIABLE: SETTINGS, BEGUN: str(os.getpid())}  # it did try


def test_an_image_has_them_from_the_start() -> None:
    assert IMAGE[VARIABLE] == SETTINGS

    _, lines = begin(**{VARIABLE: IMAGE[VARIABLE]})

    assert lines[:-1] == ["began"]


@pytest.mark.parametrize("name", [None, "musl 1.2", ValueError("unrecognized configuration name")])
def test_another_c_library_is_left_alone(name: str | Exception | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def confstr(_: str) -> str | None:
        if isinstance(name, Exception):
            raise name
        return name

    def never(*_: object) -> NoReturn:
        raise AssertionError("began again")

    monkeypatch.setattr(os, "confstr", confstr)
    monkeypatch.setattr(os, "execv", never)
    monkeypatch.delenv(VARIABLE, raising=False)

    begin_with_settings()

    assert VARIABLE not in os.environ
