"""HTTP as fetching a bundle needs it, and no more: no redirects, no proxies, no cookies, no decompression.

Built on http.client: connections go to addresses that were judged beforehand (addresses.py), certificates are
verified against the host's name, and bodies are read straight into the caller's buffer.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from tidegate.bundle.addresses import Origin
from tidegate.bundle.errors import Denied, TooLarge, Unreachable

TIMEOUT = 30.0  # for connecting, and for each wait for bytes
KEPT_IDLE = 16
ERROR_BODY = 64 * 2**10


class Response:
    """A status, headers and a body that is read while its connection lives."""

    __slots__ = ("_connection", "_origin", "_pool", "_raw", "headers", "status")

    def __init__(self, pool: Connections, connection: _Pinned, raw: http.client.HTTPResponse) -> None:
        self._pool, self._connection, self._raw = pool, connection, raw
        self.status = raw.status
        self.headers = raw.headers

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer as far as the body goes; less than its length means the body has ended."""
        with _clear_errors(self._pool.origin):
            return self._raw.readinto(buffer)

    def read(self, limit: int) -> bytes:
        """The whole body, when it is no longer than `limit`."""
        with _clear_errors(self._pool.origin):
            content = self._raw.read(limit + 1)
        if len(content) > limit:
            raise TooLarge(f"more than the {limit} bytes allowed", where=str(self._pool.origin))
        return content

    def beginning(self, limit: int) -> bytes:
        """The body, cut off after `limit` bytes."""
        with _clear_errors(self._pool.origin):
            return self._raw.read(limit)

    def close(self) -> None:
        """Give the connection back when the body was read to its end, else close it."""
        self._pool.give_back(self._connection, reusable=self._raw.isclosed() and not self._raw.will_close)


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str  # path and query
    headers: Mapping[str, str]
    body: Callable[[], Iterable[bytes]] | None = None  # made anew for each attempt; headers tell its length


class Connections:
    """Kept connections to one origin, for any number of threads."""

    def __init__(self, origin: Origin, *, tls: ssl.SSLContext | None = None) -> None:
        self.origin = origin
        self._tls = tls
        self._lock = threading.Lock()
        self._idle: list[_Pinned] = []
        self._busy: set[_Pinned] = set()
        self._closed = False

    def send(self, request: Request) -> Response:
        """Send a request and give the response; a kept connection that died meanwhile is replaced."""
        while True:
            connection, used = self._take()
            try:
                with _clear_errors(self.origin):
                    body = request.body() if request.body else None
                    connection.request(request.method, request.target, body, dict(request.headers))
                    return Response(self, connection, connection.getresponse())
            except BaseException as error:
                self.give_back(connection, reusable=False)
                if not (used and isinstance(error, Unreachable)) or self._closed:
                    raise

    def give_back(self, connection: _Pinned, *, reusable: bool) -> None:
        with self._lock:
            self._busy.discard(connection)
            if reusable and not self._closed and len(self._idle) < KEPT_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close everything; who still reads gets Unreachable at once, however slow the other side is."""
        with self._lock:
            self._closed = True
            idle, busy = self._idle, list(self._busy)
            self._idle = []
        for connection in idle:
            connection.close()
        for connection in busy:
            connection.shut()

    def _take(self) -> tuple[_Pinned, bool]:
        with self._lock:
            if self._closed:
                raise Unreachable("the transfer was broken off", where=str(self.origin))
            connection = self._idle.pop() if self._idle else None
            used = connection is not None
            connection = connection or _Pinned(self.origin, self._tls)
            self._busy.add(connection)
        return connection, used


class _Pinned(http.client.HTTPConnection):
    """A connection to the addresses of an origin, whatever its name resolves to by now."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None) -> None:
        super().__init__(origin.host, origin.port, timeout=TIMEOUT)
        self.default_port = {"https": 443, "http": 80}[origin.scheme]  # decides what the Host header shows
        self._origin = origin
        self._tls = tls

    def connect(self) -> None:
        plain = _dial(self._origin, self.timeout or TIMEOUT)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = plain
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self._origin.host)

    def shut(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            self.sock.shutdown(socket.SHUT_RDWR)


def _dial(origin: Origin, timeout: float) -> socket.socket:
    failure: OSError | None = None
    for address in origin.addresses:
        try:
            return socket.create_connection((address, origin.port), timeout=timeout)
        except OSError as error:
            failure = error
    raise failure or OSError(f"{origin.host} has no address")


@contextlib.contextmanager
def _clear_errors(origin: Origin) -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise Denied(
            f"the certificate is not trusted: {error.verify_message}",
            where=str(origin),
            do="name the CA (ca.crt or AWS_CA_BUNDLE), or check that the host is the right one",
            reason="CertificateInvalid",
        ) from None
    except TimeoutError:
        raise Unreachable("no answer in time", where=str(origin), do="the store is slow or down") from None
    except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
        # ValueError, AttributeError: http.client's own words for a connection that was closed under a reader.
        reason = str(error) or type(error).__name__
        raise Unreachable(
            f"the connection failed: {reason[:200]}", where=str(origin), do="check the address and that the store runs"
        ) from None


def tls_context(ca: str, *, system_too: bool = False) -> ssl.SSLContext:
    """Verify against the CA given, a path or PEM text, or else against the system's; `system_too`: against both."""
    try:
        inline = "-----BEGIN" in ca
        context = ssl.create_default_context(cafile=None if inline else ca or None, cadata=ca if inline else None)
        if system_too and ca:
            context.load_default_certs()
        return context
    except (OSError, ssl.SSLError) as error:
        place = "the given text" if "-----BEGIN" in ca else os.fspath(ca)
        raise Denied(
            f"not a CA certificate in PEM: {place}", do=str(error)[:200], reason="CertificateInvalid"
        ) from None
