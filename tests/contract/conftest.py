"""A real API server, alone and with all controllers, and a namespace of its own for each test."""

from __future__ import annotations

import pytest
from tests.control_plane.fixtures import api_server, control_plane, pytest_collection_finish
from tests.control_plane.plane import Plane

__all__ = ["api_server", "control_plane", "namespace", "pytest_collection_finish"]


@pytest.fixture
def namespace(api_server: Plane) -> str:
    """Nobody deletes what is in it: without controllers a namespace never ends."""
    return api_server.new_namespace("contract")
