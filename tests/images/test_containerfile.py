"""The Containerfile as far as it can be judged without building it: linted, pinned, locked by hash, nobody's user."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.control_plane.mounts import IMAGE

from image_build import containerfile

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "runtime_image/Containerfile"
FILE = containerfile.parse(CONTAINERFILE.read_text())


def pins(lock: str) -> dict[str, str]:
    """Package versions of a lock file."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", (ROOT / "locks" / lock).read_text(), re.MULTILINE))


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"

    done = subprocess.run([hadolint, CONTAINERFILE], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("target", "entrypoint"),
    [("cpu", "tidegate_runtime"), ("cuda", "tidegate_runtime"), ("operator", "tidegate")],
)
def test_each_image_runs_as_nobody_without_a_shell_and_says_what_it_is(target: str, entrypoint: str) -> None:
    said = {one.name: one for stage in FILE.chain(target) for one in stage.instructions}

    assert said["USER"].text == "65532:65532"
    assert said["ENTRYPOINT"].listed() == ["/opt/tidegate/bin/python", "-m", entrypoint]
    labels = said["LABEL"].pairs(FILE.arguments)
    assert {name.removeprefix("org.opencontainers.image.") for name in labels} == {
        "title", "description", "version", "revision", "source", "created", "licenses",
    }  # fmt: skip
    assert all(labels.values())


def test_a_build_without_a_target_gives_the_cpu_image() -> None:
    assert list(FILE.stages)[-1] == "cpu"


def test_every_image_begins_with_one_that_is_pinned_by_digest() -> None:
    begun = {stage.parent for stage in FILE.stages.values()} - FILE.stages.keys()

    assert len(begun) == 1
    assert re.fullmatch(r"docker\.io/library/python:3\.13-slim-trixie@sha256:[0-9a-f]{64}", begun.pop())


def test_its_version_is_the_projects() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert FILE.arguments["VERSION"] == version


def test_the_processes_that_play_pods_in_tests_have_the_images_environment() -> None:
    own = [one.pairs({}) for stage in FILE.chain("cpu") for one in stage.instructions if one.name == "ENV"]

    assert {name: value for pairs in own for name, value in pairs.items()} == IMAGE


def test_the_operator_takes_the_arguments_that_the_chart_gives_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", "operator", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "--runtime-image" in done.stdout


def test_the_operators_packages_are_locked_by_hash_and_the_tested_ones() -> None:
    locked = pins("operator.txt")

    assert locked.items() <= pins("dev.txt").items()
    assert "kopf" in locked
    assert not {"onnxruntime", "numpy", "pytest"} & locked.keys()
    code = "import sys, tidegate.cluster.main; print([m for m in ('numpy', 'onnx', 'grpc', 'jwt') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
    assert (ROOT / "locks/operator.txt").read_text().count("--hash=sha256:") >= len(locked)


def test_everything_it_copies_exists_and_reaches_the_builder() -> None:
    copies = [one for stage in FILE.stages.values() for one in stage.instructions if one.name == "COPY"]
    sources = [source for one in copies if not one.flags for source in one.words({})[:-1]]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]

    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == path or source.startswith(f"{path}/") for path in allowed), source


@pytest.mark.parametrize(
    ("lock", "package"), [("runtime-cpu.txt", "onnxruntime"), ("runtime-cuda.txt", "onnxruntime-gpu")]
)
def test_every_package_is_locked_by_hash_and_onnx_runtime_is_the_tested_one(lock: str, package: str) -> None:
    assert pins(lock)[package] == pins("dev.txt")["onnxruntime"]
    assert ("onnxruntime" in pins(lock)) != ("onnxruntime-gpu" in pins(lock)), "the two own the same folder"
    assert (ROOT / "locks" / lock).read_text().count("--hash=sha256:") >= len(pins(lock))
