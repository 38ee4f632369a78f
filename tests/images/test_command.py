"""`python -m image_build`, as far as it goes without building anything: what is asked wrongly is told in a sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.namespaces import namespaces

from image_build import debian, namespace
from image_build.__main__ import main


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "image_build", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("argument", ["VERSION", "COLOUR=red"])
def test_an_argument_that_the_containerfile_does_not_know_is_told_with_those_it_knows(argument: str) -> None:
    namespaces()

    done = run("operator", "--build-arg", argument)

    assert done.returncode == 1
    assert done.stderr == (
        f"error: --build-arg {argument}: it must be NAME=VALUE, and NAME one of "
        "PYTHON, VERSION, REVISION, SOURCE, CREATED\n"
    )


def test_a_target_that_is_not_there_is_told_with_those_that_are() -> None:
    done = run("gpu")

    assert done.returncode == 2
    assert "invalid choice: 'gpu'" in done.stderr
    assert "operator" in done.stderr


def test_a_cache_that_cannot_be_there_is_told_with_the_way_out(tmp_path: Path) -> None:
    namespaces()
    (tmp_path / "file").touch()

    done = run("operator", "--cache", str(tmp_path / "file"))

    assert done.returncode == 1
    assert "Not a directory" in done.stderr
    assert done.stderr.endswith("(other folders are given by --cache and --output)\n")


def test_an_interrupted_build_says_what_is_kept_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        assert len(list(tmp_path.glob("building-*"))) == 1
        raise KeyboardInterrupt

    monkeypatch.setenv(namespace.ENTERED, "1")
    monkeypatch.setattr(sys, "argv", ["image_build", "operator", "--cache", str(tmp_path)])
    monkeypatch.setattr(debian, "fetch", interrupted)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("os.umask", lambda _: 0)

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted: the layers that were finished are kept for the next build\n"
    assert list(tmp_path.glob("building-*")) == []


def test_where_nobody_may_make_namespaces_it_says_what_to_enable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace, "USER", ("false",))
    monkeypatch.setattr(namespace, "ROOT", ("no-such-program",))

    with pytest.raises(namespace.NoNamespaces, match="let users make them"):
        namespace.within()


def test_a_machine_of_another_kind_is_told_which_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")

    with pytest.raises(debian.NoPackages, match="built on x86_64 and aarch64, and this machine is riscv64"):
        debian.architecture()
