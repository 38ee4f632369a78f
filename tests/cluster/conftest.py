"""A simulated cluster, and a namespace of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.control_plane.fixtures import control_plane, pytest_collection_finish
from tests.control_plane.plane import Plane

__all__ = ["control_plane", "namespace", "pytest_collection_finish"]


@pytest.fixture
def namespace(control_plane: Plane) -> Iterator[str]:
    """What is in it is deleted afterwards, in the background; a fault of the player fails the test."""
    name = control_plane.new_namespace()
    yield name
    control_plane.client.delete("namespaces", "", name)
    assert control_plane.player is not None
    faults, control_plane.player.faults = control_plane.player.faults, []
    assert faults == []
