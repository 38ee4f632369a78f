"""The images, built once for all tests that need them, by `make e2e` or here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.containerd import IMPORTED, Containerd, started, taken_over
from tests.e2e.images import TARGETS, Image, Unpacked, build, given, unpacked
from tests.runtime import small_bundles as small


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    return given() or build(tmp_path_factory.mktemp("images"), *TARGETS)


@pytest.fixture(scope="session")
def runtime(images: dict[str, Image], tmp_path_factory: pytest.TempPathFactory) -> Unpacked:
    return unpacked(images["cpu"], tmp_path_factory.mktemp("runtime") / "root")


@pytest.fixture(scope="session")
def operator(images: dict[str, Image], tmp_path_factory: pytest.TempPathFactory) -> Unpacked:
    return unpacked(images["operator"], tmp_path_factory.mktemp("operator") / "root")


@pytest.fixture(scope="session")
def containerd(images: dict[str, Image], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """One that was given the images: by `make e2e` before, or here."""
    folder = tmp_path_factory.mktemp("containerd")
    if imported := os.environ.get(IMPORTED):
        taken_over(Path(imported), folder / "root")
    with started(folder) as daemon:
        if not imported:
            for image in images.values():
                daemon.load(image.archive)
        yield daemon


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder with a bundle and a token, as a pod would have them mounted."""
    small.write_bundle(tmp_path / "given/bundle", small.linear(), small.linear_samples())
    (tmp_path / "given/token").write_text("a-token-for-one-test\n")
    return tmp_path / "given"
