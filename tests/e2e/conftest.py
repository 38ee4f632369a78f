"""The images, built once for all tests that need them, by `make e2e` or here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.containerd import Containerd, started
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
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    with started(tmp_path_factory.mktemp("containerd")) as daemon:
        yield daemon


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder with a bundle and a token, as a pod would have them mounted."""
    small.write_bundle(tmp_path / "given/bundle", small.linear(), small.linear_samples())
    (tmp_path / "given/token").write_text("a-token-for-one-test\n")
    return tmp_path / "given"
