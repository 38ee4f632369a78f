"""The other processes as whoever accepts connections sees them: each connection goes to the one that has the fewest."""

from __future__ import annotations

import socket
from typing import Protocol


class Spreader(Protocol):
    """Whoever knows the other processes."""

    @property
    def elsewhere(self) -> int:
        """Connections that they have."""

    def hand_over(self, client: socket.socket) -> bool:
        """Give it to another process, if one has fewer connections than this one."""

    def shut_doors(self) -> None:
        """No more connections come."""
