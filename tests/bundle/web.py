"""A web server with a certificate of its own CA: files of one folder, ranges, and faults on request."""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.control_plane.pki import Authority


@dataclass(slots=True)
class Web:
    """What it serves and how; `seen` are the requests: (method, path, authorization)."""

    folder: Path
    ca: str
    port: int = 0
    ranges: bool = True
    redirect: str = ""  # where to; {path} in it is the path that was asked for
    redirect_below: str = "/"
    authorization: str = ""
    seen: list[tuple[str, str, str]] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"https://localhost:{self.port}/{path}"


def authority(folder: Path) -> tuple[str, Path]:
    """A CA as PEM text, and a file with a certificate by it for localhost and its key."""
    trusted, chain = Authority.new(), folder / "server.pem"
    certificate, key = trusted.issue("localhost", ExtendedKeyUsageOID.SERVER_AUTH, [x509.DNSName("localhost")])
    chain.write_bytes(key + certificate)
    return trusted.certificate.public_bytes(Encoding.PEM).decode(), chain


@contextlib.contextmanager
def web_server(folder: Path, certificates: Path) -> Iterator[Web]:
    """Serve `folder` over HTTPS on loopback."""
    ca, chain = authority(certificates)
    web = Web(folder, ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)

    class Handler(_Handler):
        state = web

    server = _Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5
    state: Web

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        web = self.state
        web.seen.append((self.command, self.path, self.headers.get("Authorization", "")))
        path = web.folder / self.path.lstrip("/")
        if web.redirect and self.path.startswith(web.redirect_below):
            return self._send(302, b"", {"Location": web.redirect.format(path=self.path)})
        if web.authorization and self.headers.get("Authorization") != web.authorization:
            return self._send(401, b"no", {"WWW-Authenticate": 'Basic realm="models"'})
        if not path.is_file():
            return self._send(404, b"no")
        content = path.read_bytes()
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not web.ranges or match is None:
            extra = {"Accept-Ranges": "bytes"} if web.ranges else {}
            return self._send(200, content if body else b"", {**extra, "Content-Length": str(len(content))})
        start, end = int(match[1]), min(int(match[2]), len(content) - 1)
        if start >= len(content):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        return self._send(206, content[start : end + 1], {"Content-Range": f"bytes {start}-{end}/{len(content)}"})

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""
