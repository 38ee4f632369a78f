"""A simulated cluster, and a namespace of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.operating import Operator, Site, grant, resolves
from tests.control_plane.fixtures import control_plane, pytest_collection_finish
from tests.control_plane.plane import Plane
from tests.local.local_run import bundles

__all__ = ["control_plane", "namespace", "pytest_collection_finish"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What all tests have asked for is compared with the chart's rights when they have."""
    items.sort(key=lambda item: item.path.name == "test_rights.py")


@pytest.fixture
def namespace(control_plane: Plane) -> Iterator[str]:
    """What is in it is deleted afterwards, in the background; a fault of the player fails the test."""
    name = control_plane.new_namespace()
    yield name
    control_plane.client.delete("namespaces", "", name)
    assert control_plane.player is not None
    faults, control_plane.player.faults = control_plane.player.faults, []
    assert faults == []


@pytest.fixture(scope="module")
def operator(control_plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """One that leads; it hands its lease over, so that the next module's need not wait for it."""
    grant(control_plane)
    running = Operator(control_plane, tmp_path_factory.mktemp("operator")).start().leads()
    yield running
    running.close()


@pytest.fixture
def site(control_plane: Plane, namespace: str) -> Site:
    """Bundles are never read, and servers are simulated."""
    assert control_plane.player
    control_plane.player.answer_jobs(namespace, resolves())
    return Site(control_plane, namespace)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real bundles: v1 and v2 are sound, v3 is damaged."""
    return bundles(tmp_path_factory.mktemp("store"))


@pytest.fixture
def mounted(control_plane: Plane, namespace: str, store: Path) -> Site:
    """Bundles are read from a claim, and servers are real."""
    found = Site(control_plane, namespace)
    found.mount(store)
    return found
