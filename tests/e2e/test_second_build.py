"""The images are the same bytes, whoever builds them.  A file of its own: it takes minutes beside the other tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.e2e.images import TARGETS, Image, build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_a_build_on_a_machine_that_is_set_up_otherwise_gives_the_same_bytes(
    images: dict[str, Image], tmp_path: Path
) -> None:
    otherwise = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}

    again = build(tmp_path, *TARGETS, options=["--no-cache"], environment=otherwise, umask=0o077)

    assert {target: image.digest for target, image in again.items()} == {
        target: image.digest for target, image in images.items()
    }
