"""`tidegate operator` before it operates: help without its packages, and what is wrong in one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.cli.operator import PACKAGES
from tidegate.cluster.settings import FLAGS

IMAGE = ("--runtime-image", "registry.example.com/tidegate-runtime:test")


def operator(*arguments: str, without: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, in which some packages cannot be imported."""
    program = f"import sys; sys.modules.update(dict.fromkeys({without!r})); from tidegate.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "operator", *arguments],
        env={"COLUMNS": "200"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_help_needs_none_of_the_operators_packages() -> None:
    ended = operator("--help", without=PACKAGES)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert all(f"--{flag.name} " in ended.stdout for flag in FLAGS)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it(package: str) -> None:
    ended = operator(*IMAGE, without=(package,))

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"error: this needs the package {package}, which is not installed: run: pip install 'tidegate[operator]'\n"
    )


def test_without_an_image_it_says_which_flag_is_missing() -> None:
    ended = operator()

    assert ended.returncode == 2
    assert ended.stderr == "error: --runtime-image: the image of the model server is missing\n"


def test_a_kubeconfig_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    ended = operator(*IMAGE, "--kubeconfig", str(tmp_path / "none"))

    assert ended.returncode == 2
    assert ended.stderr == f"error: {tmp_path}/none: there is no such kubeconfig: name one with --kubeconfig\n"


def test_a_file_that_is_no_kubeconfig_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a: [")

    ended = operator(*IMAGE, "--kubeconfig", str(tmp_path / "config"))

    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: {tmp_path}/config: the kubeconfig cannot be used: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--token-file", "there is no file {} that can be read: mount the service account's token there"),
        ("--prometheus-credentials", "there is no folder {} that can be read: mount the Secret there"),
    ],
)
def test_a_file_that_was_named_and_is_not_there_is_told_at_the_start(tmp_path: Path, flag: str, told: str) -> None:
    ended = operator(*IMAGE, flag, str(tmp_path / "nowhere"))

    assert ended.returncode == 2
    assert ended.stderr == f"error: {flag}: {told.format(tmp_path / 'nowhere')}, or leave the flag away\n"


@pytest.mark.parametrize("flag", ["--token-file", "--prometheus-credentials"])
def test_a_folder_is_no_file_and_a_file_no_folder(tmp_path: Path, flag: str) -> None:
    (tmp_path / "file").touch()
    ended = operator(*IMAGE, flag, str(tmp_path if flag == "--token-file" else tmp_path / "file"))

    assert ended.returncode == 2
    assert f"error: {flag}: there is no " in ended.stderr
