"""A canary through a real gateway, told once for all tests of this folder."""

from __future__ import annotations

from tests.control_plane.fixtures import pytest_collection_finish

__all__ = ["pytest_collection_finish"]
