"""A server that does what a test says with each request, and counts what it gets."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    ends: bool = False  # the connection, without a word


def said(status: int, sentence: str, **headers: str) -> Answer:
    """The protocol's error."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps({"error": sentence}).encode(), named)


class HangUp:
    """The connection is closed where the answer should come."""


class Silence:
    """No answer before the test is over."""


class CutShort:
    """Half of an answer."""


@dataclass(frozen=True)
class Raw:
    """Bytes of another protocol, and the end of the connection."""

    sent: bytes


@dataclass
class Received:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Scripted(ThreadingHTTPServer):
    """Follows its script, request by request, and then its last line for ever."""

    daemon_threads = True

    def __init__(self, script: list[Any], tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.scheme = "https" if tls else "http"
        self.script = script
        self.received: list[Received] = []
        self.connections = 0
        self.over = threading.Event()
        self.closed = threading.Event()  # a connection
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.server_address[1]}"

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.closed.set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what these tests are about."""

    def next_act(self) -> Any:
        with self.lock:
            return self.script.pop(0) if len(self.script) > 1 else self.script[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.received.append(Received(self.command, self.path, headers, body))
        act = self.server.next_act()
        if isinstance(act, Answer):
            self.send(act)
            return
        if isinstance(act, CutShort):
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        if isinstance(act, Raw):
            self.wfile.write(act.sent)
        if isinstance(act, Silence):
            self.server.over.wait(20)
        self.close_connection = True

    def send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)
        self.close_connection = answer.ends or answer.headers.get("connection") == "close"

    do_GET = do_POST = answer  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def following(*script: Any, tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    server = Scripted(list(script), tls)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
