"""Kept engines are those of the same bundle, GPU, versions and options, whole, and of nothing else."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tidegate_runtime.gpu.engines import Engines, Maker, folder_name

DIGEST = "sha256:" + "ab" * 32
MAKER = Maker("NVIDIA H100 80GB HBM3", "580.159.04", "1.31.1", "101600")
OPTIONS = {"trt_fp16_enable": "1", "trt_builder_optimization_level": "3"}
NOBODY = 2**22 + 1  # beyond the largest process id
NAME = folder_name(DIGEST, MAKER, OPTIONS)


def test_the_name_says_which_bundle_and_gpu_it_is_for() -> None:
    assert NAME.startswith("abababababab-nvidia-h100-80gb-hbm3-")
    assert folder_name(DIGEST, MAKER, dict(reversed(OPTIONS.items()))) == NAME


@pytest.mark.parametrize("what", ["gpu", "driver", "onnxruntime", "tensorrt"])
def test_another_gpu_driver_or_version_has_engines_of_its_own(what: str) -> None:
    assert folder_name(DIGEST, replace(MAKER, **{what: "another"}), OPTIONS) != NAME


def test_other_weights_and_other_options_have_engines_of_their_own() -> None:
    assert folder_name("sha256:" + "ab" * 31 + "ac", MAKER, OPTIONS) != NAME  # the same in the part that is shown
    assert folder_name(DIGEST, MAKER, OPTIONS | {"trt_fp16_enable": "0"}) != NAME


def test_what_was_kept_is_found_by_the_next_start(tmp_path: Path) -> None:
    first = Engines(tmp_path, NAME)
    (first.path / "a.engine").write_text("an engine")
    first.keep()

    second = Engines(tmp_path, NAME)

    assert (first.reused, second.reused) == (False, True)
    assert (second.path / "a.engine").read_text() == "an engine"
    assert [folder.name for folder in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("ids", [(NOBODY, NOBODY, NOBODY), (NOBODY, NOBODY + 1, NOBODY + 2)])
def test_what_a_killed_process_left_behind_is_never_read_and_does_not_pile_up(
    ids: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for process in ids:  # in a container they all have the same one
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        engines = Engines(tmp_path, NAME)
        assert not engines.reused
        assert list(engines.path.iterdir()) == []
        (engines.path / "a.engine").write_text("half an eng")

    assert [folder.name for folder in tmp_path.iterdir()] == [f"{NAME}.building-{ids[-1]}"]


def test_what_a_living_process_builds_and_what_is_of_other_engines_stays(tmp_path: Path) -> None:
    others = [f"{NAME}.building-{os.getppid()}", f"{NAME}2.building-{NOBODY}", f"{NAME}.building-x"]
    for name in others:
        (tmp_path / name).mkdir()

    Engines(tmp_path, NAME).keep()

    assert sorted(folder.name for folder in tmp_path.iterdir()) == sorted([NAME, *others])


def test_of_two_that_build_at_once_the_first_is_kept_and_the_second_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = Engines(tmp_path, NAME)
    (mine.path / "a.engine").write_text("mine")
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "a.engine").write_text("theirs")

    mine.keep()

    assert (mine.path / "a.engine").read_text() == "mine"
    assert (tmp_path / NAME / "a.engine").read_text() == "theirs"
    assert caplog.text == ""


def test_engines_that_do_not_load_are_built_anew_and_kept_in_their_place(tmp_path: Path) -> None:
    Engines(tmp_path, NAME).keep()
    engines = Engines(tmp_path, NAME)

    engines.start_anew()
    (engines.path / "a.engine").write_text("an engine")
    engines.keep()

    assert (Engines(tmp_path, NAME).path / "a.engine").read_text() == "an engine"


def test_a_folder_that_cannot_be_written_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(OSError, match="Not a directory"):
        Engines(tmp_path / "file", NAME)
