"""A network that misbehaves on purpose: a TCP proxy whose connections are cut, hang, or get canned answers."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

CHUNK = 2**16


@dataclass(slots=True)
class Proxy:
    """Each new connection takes the next fault from `faults`; when there is none, it just works.

    `gate_at`: once that many bytes were sent to clients in all, everything stands still until `release` is called.
    """

    target: tuple[str, int]
    faults: deque[Callable[[Proxy, socket.socket], None]] = field(default_factory=deque)
    always: Callable[[Proxy, socket.socket], None] | None = None
    sent: int = 0
    taken: int = 0  # bytes from clients
    gate_at: int | None = None
    reached: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    _open: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def release(self) -> None:
        self.gate_at = None
        self._open.set()

    def serve(self, listener: socket.socket) -> None:
        while not self.closed.is_set():
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            thread = threading.Thread(target=self._connection, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        self.closed.set()
        self.release()
        for thread in self._threads:
            thread.join(timeout=10)

    def _connection(self, client: socket.socket) -> None:
        fault = self.faults.popleft() if self.faults else self.always or passing
        with client, contextlib.suppress(OSError):
            fault(self, client)

    def pipe(self, client: socket.socket, most: int | None = None) -> None:
        """Carry bytes both ways, at most so many to the client."""
        with socket.create_connection(self.target) as server, selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            left = most
            while not self.closed.is_set():
                for key, _ in selector.select(timeout=0.2):
                    content = key.fileobj.recv(CHUNK)  # type: ignore[union-attr]
                    if not content:
                        return
                    if key.fileobj is server:
                        content = content if left is None else content[:left]
                        left = None if left is None else left - len(content)
                        self._count(len(content))
                    else:
                        self.taken += len(content)
                    key.data.sendall(content)
                    if left == 0:
                        return

    def _count(self, count: int) -> None:
        self.sent += count
        if self.gate_at is not None and self.sent >= self.gate_at:
            self.reached.set()
            self._open.wait(60)


def passing(proxy: Proxy, client: socket.socket) -> None:
    proxy.pipe(client)


def cut_after(count: int) -> Callable[[Proxy, socket.socket], None]:
    """The connection breaks after so many bytes."""
    return lambda proxy, client: proxy.pipe(client, count)


def hanging(proxy: Proxy, client: socket.socket) -> None:
    """The request is taken and nothing ever comes back."""
    client.settimeout(0.2)
    while not proxy.closed.is_set():
        try:
            if not client.recv(CHUNK):
                return
        except TimeoutError:
            continue


def answering(status: str, body: bytes = b"", **headers: str) -> Callable[[Proxy, socket.socket], None]:
    """A canned answer to the first request."""
    lines = {"Content-Length": str(len(body)), "Connection": "close", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())

    def fault(proxy: Proxy, client: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request and (more := client.recv(CHUNK)):
            request += more
        client.sendall(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)

    return fault


@contextlib.contextmanager
def proxy_to(endpoint: str) -> Iterator[Proxy]:
    """A proxy before `http://host:port`."""
    host, _, port = endpoint.removeprefix("http://").partition(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        proxy = Proxy((host, int(port)), port=listener.getsockname()[1])
        thread = threading.Thread(target=proxy.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.stop()
            thread.join(timeout=10)
