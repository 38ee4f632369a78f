"""A watch says when to look again, whatever becomes of it; the server here says what a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from tests.waiting import wait_until

from tidegate.cluster.kubectl import changes
from tidegate.cluster.kubectl.changes import Changes
from tidegate.cluster.kubectl.connection import Connection
from tidegate.cluster.kubectl.kubeconfig import Context, Entry

LONG = 3600.0
Said = list[Any] | int  # the lines of a watch, or a refusal


class Server:
    """Lists are of version 1, 2, 3 …; each watch says its lines, and the last of them goes on for ever."""

    def __init__(self, watches: list[Said], lists: int = 200) -> None:
        self.asked: list[dict[str, str]] = []
        self.over = threading.Event()
        self.watches, self.lists = watches, lists

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        query = dict(parse_qsl(urlsplit(request.path).query))
        self.asked.append(query)
        if "watch" not in query:
            version = f"{sum('watch' not in one for one in self.asked)}"
            return self.document(request, self.lists, {"metadata": {"resourceVersion": version}, "items": []})
        said = self.watches.pop(0) if self.watches else []
        if isinstance(said, int):
            return self.document(request, said, {"kind": "Status", "message": "no", "code": said})
        request.send_response(200)
        request.end_headers()
        for line in said:
            request.wfile.write(json.dumps(line).encode() + b"\n")
        request.wfile.flush()
        if not self.watches:
            self.over.wait(20)
        return None

    def document(self, request: BaseHTTPRequestHandler, code: int, body: dict[str, Any]) -> None:
        request.send_response(code)
        request.end_headers()
        request.wfile.write(json.dumps(body).encode())

    @property
    def watched(self) -> list[str]:
        """The versions from which it was watched."""
        return [one["resourceVersion"] for one in self.asked if "watch" in one]


Serving = Callable[..., tuple[Server, Connection]]


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    monkeypatch.setattr(changes, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(changes, "UNASKED_SECONDS", 0.05)
    running: list[tuple[Server, ThreadingHTTPServer]] = []

    def serve(*watches: Said, lists: int = 200) -> tuple[Server, Connection]:
        found = Server([*watches], lists)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        running.append((found, http))
        cluster = {"server": f"http://127.0.0.1:{http.server_address[1]}"}
        nowhere = Path("kubeconfig")
        context = Context("c", "shop", Entry("cluster", "c", cluster, nowhere), Entry("user", "u", {}, nowhere))
        return found, Connection(context)

    yield serve
    for found, http in running:
        found.over.set()
        http.shutdown()
        http.server_close()


def change(number: int) -> dict[str, Any]:
    return {"type": "MODIFIED", "object": {"metadata": {"resourceVersion": f"{number}"}}}


def test_a_change_wakes_whoever_looks_and_without_one_nobody_is_asked(serving: Serving) -> None:
    server, connection = serving([change(7)])
    news = Changes(connection, "shop", "fraud", LONG)

    assert news.wait(20)  # the watch has begun, or has told already
    wait_until(lambda: news.wait(0.05) is False, "nothing more is told")

    assert len(server.asked) == 2
    assert server.watched == ["1"]
    assert {one["fieldSelector"] for one in server.asked} == {"metadata.name=fraud"}


def test_a_watch_that_is_too_old_begins_anew_from_what_is_there(serving: Serving) -> None:
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410}}
    server, connection = serving([gone], 410, [])
    news = Changes(connection, "shop", "", LONG)

    wait_until(lambda: len(server.watched) == 3, lambda: f"a third watch: {server.asked}")

    assert server.watched == ["1", "2", "3"]
    assert news.wait(20)
    assert all("fieldSelector" not in one for one in server.asked)


@pytest.mark.parametrize("lost", [[], [change(7)], 500, 429])
def test_a_watch_that_breaks_is_begun_again(serving: Serving, lost: Said) -> None:
    server, connection = serving(lost, [])
    news = Changes(connection, "shop", "", LONG)

    wait_until(lambda: len(server.watched) == 2, lambda: f"a second watch: {server.asked}")

    assert news.wait(20)


def test_lines_that_are_none_break_the_watch_and_nothing_else(serving: Serving) -> None:
    server, connection = serving([[]], [])

    Changes(connection, "shop", "", LONG)

    wait_until(lambda: len(server.watched) == 2, lambda: f"a second watch: {server.asked}")


@pytest.mark.parametrize("refused", [{"lists": 403}, {"lists": 404}])
def test_without_the_right_one_looks_from_time_to_time(serving: Serving, refused: dict[str, int]) -> None:
    server, connection = serving(**refused)
    news = Changes(connection, "shop", "", LONG)

    assert [news.wait(20) for _ in range(3)] == [True] * 3
    assert server.watched == []


def test_a_right_to_list_alone_is_no_right_to_watch(serving: Serving) -> None:
    _, connection = serving(403)
    news = Changes(connection, "shop", "", LONG)

    assert [news.wait(20) for _ in range(4)] == [True] * 4


def test_even_without_news_one_looks_after_a_while(serving: Serving) -> None:
    _, connection = serving([])
    news = Changes(connection, "shop", "", 0.2)

    assert [news.wait(20) for _ in range(3)] == [True] * 3
