"""The tutorial's commands, run as they stand on the page."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from tests.walkthrough import DOCS, walk


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_command_of_the_tutorial_works_and_prints_what_the_page_shows(tmp_path: Path) -> None:
    page = (DOCS / "tutorial.md").read_text().replace("8080", str(_free_port()))

    walk(page, tmp_path, seconds=200)
