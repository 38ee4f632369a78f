"""A page whose server has gone says so, and is live again by itself when there is one."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import expect
from tests.browser.conftest import PATIENCE_MS, Open, Seen
from tests.browser.served import served
from tests.kubectl.conftest import Site
from tests.waiting import wait_until

from tidegate.dashboard.board import Board, Key
from tidegate.dashboard.publishing import Publisher
from tidegate.dashboard.serving import Dashboard, Shown

expect.set_options(timeout=PATIENCE_MS)
REFUSED = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "401")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def for_everybody(port: int, rows: dict[Key, bytes]) -> Iterator[None]:
    """A dashboard without key and acts, as the operator serves it, in a thread."""
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        publisher = Publisher(Board(str(id(rows))[-8:]), rows.get)
        server = Dashboard(Shown("this test", publisher))
        publishing = asyncio.create_task(publisher.run())
        for key in rows:
            publisher.changed(key)
        await server.start("127.0.0.1", port, "--port")
        ready.set()
        await asyncio.to_thread(over.wait)
        publishing.cancel()
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_page_is_live_again_when_its_server_was_started_again(look: Open, seen: Seen) -> None:
    seen.expected = REFUSED
    port = free_port()
    with for_everybody(port, {("shop", "fraud"): b'{"namespace":"shop","name":"fraud"}'}):
        page = look(f"http://127.0.0.1:{port}/")
        expect(page.locator(".name")).to_have_text(["fraud"])
        page.locator(".card").click()
        expect(page.locator("#detail-title")).to_have_text("fraud")
        expect(page.locator("#part-acts")).to_be_empty()
        page.keyboard.press("Escape")
    expect(page.locator("#live-text")).to_have_text("stale")
    expect(page.locator(".notice")).to_contain_text("Not live: the dashboard's server")
    expect(page.locator(".name")).to_have_text(["fraud"])

    with for_everybody(port, {("shop", "churn"): b'{"namespace":"shop","name":"churn"}'}):
        expect(page.locator(".name")).to_have_text(["churn"])
        expect(page.locator("#live-text")).to_have_text("live")
        expect(page.locator(".notice")).to_have_count(0)


def test_a_key_of_before_is_told_to_be_old(site: Site, look: Open, seen: Seen) -> None:
    seen.expected = REFUSED
    site.deploy()
    port = free_port()
    with served(kubeconfig=site.folder / "kubeconfig", port=port) as dashboard:
        page = look(dashboard)
        expect(page.locator(".name")).to_have_text(["fraud"])
        assert dashboard.token not in page.url, "whoever looks at the screen does not see the key"

    with served(kubeconfig=site.folder / "kubeconfig", port=port) as again:
        expect(page.locator(".notice")).to_contain_text(
            "the key is missing or old: open the address that `tidegate dashboard` printed"
        )
        page.goto(again.address)
        expect(page.locator("#live-text")).to_have_text("live")
        wait_until(lambda: page.locator(".name").count() == 1, "and shows what is there")
