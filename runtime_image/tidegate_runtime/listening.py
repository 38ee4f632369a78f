"""A port of the model: how it is opened, or why it cannot be, and how it is shut without losing who is in line."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Callable
from typing import Final

from tidegate.errors import Failed
from tidegate_runtime.accepting import Accepting
from tidegate_runtime.handshakes import Handshakes
from tidegate_runtime.siblings.spreader import Spreader

# A gaierror has the codes that begin with EAI; socket.create_server makes a plain OSError of it.
NOT_OUR_HOST: Final = frozenset(
    {errno.EADDRNOTAVAIL, socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_FAMILY}
)
BACKLOG: Final = 1024
MADE_SECONDS: Final = 0.05  # for connections that were being made when the door was shut
SO_ATTACH_FILTER: Final = 26
# Asked after a minute of silence, then three times, 20 s apart.
KEEPALIVE: Final = (
    ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 20), (socket.TCP_KEEPCNT, 3)) if sys.platform == "linux" else ()
)
# Classic BPF on a listening socket: the byte of TCP flags; SYN without ACK is dropped, everything else passes.
NO_NEW_CONNECTIONS: Final = (
    (0x30, 0, 0, 13),  # load the byte at offset 13
    (0x54, 0, 0, 0x12),  # keep the flags SYN and ACK
    (0x15, 0, 1, 0x02),  # is it SYN alone?
    (0x06, 0, 0, 0),  # yes: drop
    (0x06, 0, 0, 0xFFFFFFFF),  # no: keep
)


class Listener:
    """Makes a protocol object for every connection to a port, with `handshakes` once they have shaken hands.

    One that is never started has the connections that another process gives it.  `changed` is called when a connection
    that was on its way has come, or will not.
    """

    def __init__(
        self,
        make: Callable[[], asyncio.BaseProtocol],
        handshakes: Handshakes | None,
        changed: Callable[[], None] | None = None,
    ) -> None:
        self._make, self._handshakes, self._changed = make, handshakes, changed
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Server | Accepting | None = None
        self._spreader: Spreader | None = None
        self._coming: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many connections are on their way, handshakes apart."""
        return len(self._coming)

    async def start(self, host: str, port: int) -> int:
        """Listen, and give the port; raises Failed when it cannot be had."""
        self._socket = bind(host, port)
        if self._handshakes is None:
            # A copy for the loop: closing it must not close the queue of connections that nobody has accepted yet.
            copy, loop = self._socket.dup(), asyncio.get_running_loop()
            self._accepting = await loop.create_server(self._make, sock=copy, backlog=BACKLOG)
        else:
            self._accepting = Accepting(self._socket, self._handshakes.begin)
        return int(self._socket.getsockname()[1])

    def share(self, spreader: Spreader) -> None:
        """From now on other processes get connections, too."""
        assert self._socket is not None
        assert self._accepting is not None
        self._accepting.close()  # nobody in line is lost
        self._spreader = spreader

        def spread(client: socket.socket) -> None:
            if not spreader.hand_over(client):
                self.take(client)

        self._accepting = Accepting(self._socket, spread)

    def take(self, client: socket.socket) -> None:
        """Serve a connection that was accepted."""
        if self._handshakes is not None:
            self._handshakes.begin(client)
            return
        task = asyncio.ensure_future(self._connect(client))
        self._coming.add(task)
        task.add_done_callback(self._has_come)

    def _has_come(self, task: asyncio.Task[None]) -> None:
        self._coming.discard(task)
        if not task.cancelled():
            task.exception()  # its client is gone already: it never became a connection
        if self._changed is not None:
            self._changed()

    async def _connect(self, client: socket.socket) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(self._make, client)

    async def stop(self) -> None:
        """Shut the door behind everybody who is already in line.

        Closing a listener resets the connections that wait in its queue, and more arrive while it is emptied: so
        first new ones are kept out (they are refused as soon as it is closed), then the line is let in.
        """
        if self._socket is not None and self._accepting is not None:
            self._accepting.close()
            if self._spreader is not None:
                self._spreader.shut_doors()
            keep_out(self._socket)
            self._let_in(self._socket)
            await asyncio.sleep(MADE_SECONDS)
            self._let_in(self._socket)
            self._socket.close()
            self._socket = None
        await asyncio.gather(*self._coming, return_exceptions=True)

    def _let_in(self, listening: socket.socket) -> None:
        listening.setblocking(False)
        for _ in range(BACKLOG):  # no more are in line
            try:
                client, _ = listening.accept()
            except BlockingIOError:
                return
            except OSError:  # who was in line is gone
                continue
            self.take(client)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; raises Failed when the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        notice_the_dead(listening)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise cannot_listen(error, host, port, "--host") from None
    return listening


def notice_the_dead(listening: socket.socket) -> None:
    """Connections whose other end is gone without a word are closed after two minutes, not after the idle timeout.

    Every accepted socket inherits it from `listening`.
    """
    if sys.platform == "linux":
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            listening.setsockopt(socket.IPPROTO_TCP, option, value)


def keep_out(listening: socket.socket) -> None:
    """Drop new handshakes on `listening`, and nothing else; where the system cannot, a few may still slip in."""
    if sys.platform != "linux":
        return
    program = b"".join(struct.pack("HBBI", *step) for step in NO_NEW_CONNECTIONS)
    held = ctypes.create_string_buffer(program)
    with contextlib.suppress(OSError):
        filled = struct.pack("HP", len(NO_NEW_CONNECTIONS), ctypes.addressof(held))
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filled)


def cannot_listen(error: OSError, host: str, port: int, flag: str) -> Failed:
    """The host, that `flag` says, is to blame when it has no address or is not this machine's; else the port."""
    sentence, where = f"cannot listen: {error.strerror}", f"{host}:{port}"
    if error.errno in NOT_OUR_HOST:
        return Failed(sentence, where=where, do=f"choose another {flag}")
    return Failed(sentence, where=where, reason="PortTaken", do="choose another port, or 0 for a free one")
