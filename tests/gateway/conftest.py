"""A canary through a real gateway, told once for all tests of this folder."""

from __future__ import annotations

import pytest
from tests.control_plane.fixtures import pytest_collection_finish
from tests.gateway.world import gateway_definitions

__all__ = ["pytest_collection_finish"]


@pytest.fixture(scope="session", autouse=True)
def gateway_is_at_hand() -> None:
    """Programs are built before the first test; in a network of one's own nothing can be fetched."""
    gateway_definitions()
