"""Why nobody can listen at an address, as whoever started the server is told."""

from __future__ import annotations

import errno
import socket
from typing import Final

from tidegate.errors import Failed

# A gaierror has the codes that begin with EAI; socket.create_server makes a plain OSError of it.
NOT_OUR_HOST: Final = frozenset(
    {errno.EADDRNOTAVAIL, socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_FAMILY}
)


def cannot_listen(error: OSError, host: str, port: int, flag: str) -> Failed:
    """The host, that `flag` says, is to blame when it has no address or is not this machine's; else the port."""
    sentence, where = f"cannot listen: {error.strerror}", f"{host}:{port}"
    if error.errno in NOT_OUR_HOST:
        return Failed(sentence, where=where, do=f"choose another {flag}")
    return Failed(sentence, where=where, reason="PortTaken", do="choose another port, or 0 for a free one")
