"""A real Chromium that looks at a dashboard; whatever it complains of, or asks of another host, fails the test."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from tests.browser import chromium
from tests.browser.served import Served, served
from tests.control_plane import fixtures
from tests.control_plane.fixtures import api_server
from tests.control_plane.programs import say
from tests.kubectl.conftest import Site, site, stranger

__all__ = ["api_server", "site", "stranger"]
PATIENCE_MS = 20_000


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch the browser with words on the terminal, before a test's time limit would end that."""
    fixtures.pytest_collection_finish(session)
    if not any("browser" in getattr(item, "fixturenames", ()) for item in session.items):
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    if session.config.option.collectonly:
        return
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        try:
            chromium.find()
        except RuntimeError as error:
            say(f"error: {error}")  # the tests that need it fail with the same words


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of a module: while it is there no test could run an event loop of its own."""
    found = chromium.find()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=found.program, args=found.flags, env=found.environment or None
        )
        yield started
        started.close()


@dataclass
class Seen:
    """What a page has done that nobody sees."""

    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    expected: tuple[str, ...] = ()

    def watch(self, page: Page) -> None:
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname or ""))

    def _heard(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            self.complaints.append(said.text)


@pytest.fixture
def seen() -> Iterator[Seen]:
    found = Seen()
    yield found
    unexpected = [one for one in found.complaints if not any(part in one for part in found.expected)]
    assert unexpected == []
    assert found.hosts <= {"127.0.0.1"}


Open = Callable[[Served | str], Page]


@pytest.fixture
def look(browser: Browser, seen: Seen) -> Iterator[Open]:
    """Open a dashboard's page in a profile of its own."""
    contexts = []

    def look(at: Served | str) -> Page:
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        seen.watch(page)
        page.goto(at if isinstance(at, str) else at.address)
        return page

    yield look
    for context in contexts:
        context.close()


@pytest.fixture
def dashboard(site: Site) -> Iterator[Served]:
    """One of the test's namespace, for its admin."""
    with served(kubeconfig=site.folder / "kubeconfig") as running:
        yield running
