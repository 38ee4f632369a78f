from __future__ import annotations

from pathlib import Path

import pytest
from tests.images.context import Context, made_in


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return made_in(tmp_path)
