"""The Containerfile as far as it can be judged without building it: linted, locked by hash, nobody's user."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "runtime_image/Containerfile"


def pins(lock: str) -> dict[str, str]:
    """Package versions of a lock file."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", (ROOT / "locks" / lock).read_text(), re.MULTILINE))


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"

    done = subprocess.run([hadolint, CONTAINERFILE], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (0, "")


def test_it_runs_as_nobody_and_starts_the_server_without_a_shell() -> None:
    text = CONTAINERFILE.read_text()

    assert "USER 65532:65532" in text
    assert 'ENTRYPOINT ["/opt/tidegate/bin/python", "-m", "tidegate_runtime"]' in text
    assert text.index("AS cuda") < text.index("AS cpu"), "a build without a target must give the CPU image"


def test_the_operators_image_runs_as_nobody_what_the_chart_gives_arguments_to() -> None:
    image = CONTAINERFILE.read_text().partition("AS operator\n")[2].partition("\nFROM")[0]

    assert "USER 65532:65532" in image
    assert 'ENTRYPOINT ["/opt/tidegate/bin/python", "-m", "tidegate"]' in image
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
    sources = re.findall(r"^COPY (?!--from)(\S+)", CONTAINERFILE.read_text(), re.MULTILINE)
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
