"""A run with a store of its own for each test, and one shared by the tests of a steady run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.local.local_run import Clients, Local, alive, bundles, children


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundles of all tests; the cache beside them is shared too, so that only the first use of one fetches it."""
    return bundles(tmp_path_factory.mktemp("shared") / "store")


def ended(local: Local) -> None:
    """End what a test has left running, by the ids of its own processes."""
    if local.process is None:
        return
    below = children(local.process.pid) if alive(local.process.pid) else []
    if local.process.poll() is None:
        local.end()
    assert [pid for pid in below if alive(pid)] == []


@pytest.fixture
def local(tmp_path: Path, store: Path) -> Iterator[Local]:
    found = Local(tmp_path, store)
    yield found
    ended(found)


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Iterator[Local]:
    """A run that serves v1."""
    found = Local(tmp_path_factory.mktemp("steady"), store)
    found.write("v1")
    found.start()
    yield found
    ended(found)


@pytest.fixture
def clients() -> Callable[[Local], Clients]:
    return Clients
