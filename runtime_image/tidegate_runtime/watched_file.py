"""Small files that somebody else replaces while the server runs: a token, a mounted ConfigMap.

Kubernetes swaps a symbolic link, others rename or write in place; all of it shows in the file's own stamp.
"""

from __future__ import annotations

import hmac
from pathlib import Path

MAX_TOKEN = 4096


class WatchedFile:
    """A file's content, read again whenever it changes."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._seen = (0, 0, 0)
        self._content = b""

    def content(self) -> bytes:
        """What it holds now; nothing when it cannot be read or is larger than its limit."""
        try:
            about = self._path.stat()
            stamp = (about.st_mtime_ns, about.st_ino, about.st_size)
            if stamp != self._seen:
                with self._path.open("rb") as file:
                    content = file.read(self._limit + 1)
                self._content = content if len(content) <= self._limit else b""
                self._seen = stamp  # taken before the content: a change in between is read once more
        except OSError:
            return b""
        return self._content


class TokenFile:
    """A bearer token in a file; none without a file."""

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else WatchedFile(path, MAX_TOKEN)

    def token(self) -> str:
        """The token as it is now; empty when there is none."""
        return "" if self._file is None else self._file.content().decode("latin-1").strip()

    def allows(self, given: str) -> bool:
        """Whether it is this token, compared in constant time."""
        token = self.token()
        return bool(token) and hmac.compare_digest(token.encode("latin-1"), given.encode("latin-1"))
