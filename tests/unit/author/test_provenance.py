"""The commit that a model came from: told by Git, which runs nothing that the repository itself names."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.author.provenance import git_source

IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@example.com")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *IDENTITY, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commit(folder: Path, content: str = "one\n") -> Path:
    """A repository with a file that every filter is asked about, and that looks touched since."""
    git(folder.parent, "init", "-q", str(folder))
    (folder / ".gitattributes").write_text("*.txt filter=mark\n*.dat filter=a=b\n")
    for name in ("model.txt", "model.dat"):
        (folder / name).write_text(content)
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "x")
    for name in ("model.txt", "model.dat"):
        os.utime(folder / name, (1, 1))
    return folder


def by_config(name: str) -> Callable[[Path, str], object]:
    return lambda folder, command: git(folder, "config", name, command)


def by_include(folder: Path, command: str) -> None:
    (folder / ".git" / "more").write_text(f'[filter "mark"]\n\tclean = {command}\n\trequired\n')
    git(folder, "config", "include.path", "more")


def by_worktree(folder: Path, command: str) -> None:
    git(folder, "config", "extensions.worktreeConfig", "true")
    git(folder, "config", "--worktree", "filter.mark.clean", command)


def by_hook(folder: Path, command: str) -> None:
    (folder / "hooks").mkdir()
    (folder / "hooks" / "post-index-change").write_text(f"#!/bin/sh\n{command}\n")
    (folder / "hooks" / "post-index-change").chmod(0o755)
    git(folder, "config", "core.hooksPath", "hooks")


def by_submodule(folder: Path, command: str) -> None:
    """A repository inside that has commands of its own; Git asks it whether it is clean."""
    commit(folder / "inner")
    git(folder, "add", "inner")
    git(folder, "commit", "-qm", "y")
    git(folder / "inner", "config", "filter.mark.clean", command)


def by_missing_object(folder: Path, command: str) -> None:
    """A partial clone fetches what it lacks by a program that its configuration names."""
    tree = git(folder, "rev-parse", "HEAD^{tree}").strip()
    (folder / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    for setting in (
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.url", str(folder)),
        ("remote.origin.promisor", "true"),
        ("remote.origin.uploadPack", f"{command}; git-upload-pack"),
    ):
        git(folder, "config", *setting)


TRAPS: dict[str, Callable[[Path, str], object]] = {
    "a file system monitor": by_config("core.fsmonitor"),
    "a filter": by_config("filter.mark.clean"),
    "a filter that stays": by_config("filter.mark.process"),
    "a filter with an equals sign in its name": by_config("filter.a=b.clean"),
    "a filter of a file that is included": by_include,
    "a filter of the work tree": by_worktree,
    "a hook": by_hook,
    "a submodule": by_submodule,
    "an object that is missing": by_missing_object,
}


@pytest.mark.parametrize("trap", TRAPS)
def test_no_command_of_the_repository_runs(tmp_path: Path, trap: str) -> None:
    folder, mark = commit(tmp_path / "models"), tmp_path / "mark"
    TRAPS[trap](folder, f"touch {mark}")

    source = git_source(folder)

    assert not mark.exists()
    assert source is not None
    subprocess.run(["git", "-C", str(folder), "status"], capture_output=True, check=False)
    assert mark.exists()  # it is a trap


def test_files_that_only_look_touched_are_unchanged_also_without_the_repositorys_filter(tmp_path: Path) -> None:
    folder = commit(tmp_path / "models")
    git(folder, "config", "filter.mark.clean", "cat")
    git(folder, "config", "filter.mark.required", "true")

    source = git_source(folder)

    assert source is not None
    assert not source.dirty


def test_a_changed_file_shows(tmp_path: Path) -> None:
    folder = commit(tmp_path / "models")
    (folder / "model.txt").write_text("two\n")

    source = git_source(folder)

    assert source is not None
    assert source.dirty


def test_what_cannot_be_told_without_risk_counts_as_changed(tmp_path: Path) -> None:
    folder = commit(tmp_path / "models")
    git(folder, "config", "filter.a=b.clean", "cat")

    source = git_source(folder)

    assert source is not None
    assert source.dirty


def test_outside_git_there_is_no_commit(tmp_path: Path) -> None:
    assert git_source(tmp_path) is None
