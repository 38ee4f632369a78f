"""Who may ask the model: bearer tokens, of which a file holds the digests, and what each client may do.

A line of the file (`--auth-file`) is a client: its name, the SHA-256 of its token in hex, and its scopes.

    checkout  9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  infer,metadata

A name may stand there twice, with two tokens: that is how a token is changed while its client goes on asking.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tidegate_runtime.errors import PermissionDenied, Unauthenticated
from tidegate_runtime.reloading import Unusable
from tidegate_runtime.watched_file import MAX_TOKEN, WatchedFile

OPEN: Final = ""  # no token is asked for: whether the server lives and is ready
INFER, METADATA, EXPLAIN = "infer", "metadata", "explain"
SCOPES: Final = (INFER, METADATA, EXPLAIN)
MOST_CLIENTS: Final = 1024
MAX_FILE: Final = 256 * 1024
NAME: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._@]{0,63}")
DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")
FIELDS: Final = 3
NO_TOKEN: Final = hashlib.sha256(b"").digest()  # what a script writes whose variable was empty
SCHEME: Final = "bearer "


@dataclass(frozen=True, slots=True)
class Client:
    """One line of the file."""

    name: str
    digest: bytes
    scopes: frozenset[str]


class Doorkeeper:
    """Knows the clients of `--auth-file`. It is asked on the loop; `look` is called by the thread that reads files."""

    flag = "auth-file"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = WatchedFile(path, MAX_FILE)
        self._content = b""
        self._clients: Mapping[bytes, Client] = {}  # by digest
        self.refused: Counter[int] = Counter()  # by status
        self.look()

    def look(self) -> bool:
        """Take up what the file says now; whether that is something new. Raises Unusable and keeps what it has."""
        content = self._file.content()
        if content == self._content and self._clients:
            return False
        self._clients = read_clients(content, str(self._path))
        self._content = content
        return True

    def client(self, authorization: str) -> Client:
        """Whose token is in this header; raises Unauthenticated."""
        token = authorization[len(SCHEME) :].strip() if authorization[: len(SCHEME)].lower() == SCHEME else ""
        found = self._of(token) if 0 < len(token) <= MAX_TOKEN else None
        if found is not None:
            return found
        self.refused[Unauthenticated.status] += 1
        if authorization:
            raise Unauthenticated("the token in the header authorization is not known here")
        raise Unauthenticated("a token is needed: send the header authorization: Bearer TOKEN")

    def require(self, client: Client, scope: str) -> None:
        """Raises PermissionDenied where a client may not do this."""
        if scope not in client.scopes:
            self.refused[PermissionDenied.status] += 1
            scopes = " and ".join(sorted(client.scopes))
            raise PermissionDenied(f"client {client.name!r} lacks the scope {scope}: it has {scopes}")

    def _of(self, token: str) -> Client | None:
        # However long the look-up takes, that could tell of digests only, and these tell nothing of a random token.
        digest = hashlib.sha256(token.encode("latin-1", "replace")).digest()  # the bytes as they came
        return self._clients.get(digest)


def read_clients(content: bytes, where: str) -> dict[bytes, Client]:
    """The clients of a file by digest; raises Unusable naming the line, never with what stands there as a digest."""
    if not content:
        raise Unusable(f"{where}: it cannot be read, is empty, or is larger than {MAX_FILE} bytes")
    clients: dict[bytes, Client] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        client = _client(words, f"{where}:{number}")
        if client.digest in clients:
            raise Unusable(f"{where}:{number}: this token already belongs to {clients[client.digest].name}")
        clients[client.digest] = client
    if not 0 < len(clients) <= MOST_CLIENTS:
        raise Unusable(f"{where}: it names {len(clients)} clients: 1 to {MOST_CLIENTS} are expected")
    return clients


def _client(words: list[str], where: str) -> Client:
    if len(words) != FIELDS:
        raise Unusable(f"{where}: a line is NAME SHA256 SCOPE[,SCOPE], without spaces between the scopes")
    name, digest, scopes = words[0], words[1], words[2].split(",")
    if not NAME.fullmatch(name):
        raise Unusable(f"{where}: a name has 1 to 64 letters, digits, and - . _ @")
    if not DIGEST.fullmatch(digest):
        raise Unusable(f"{where}: the second word is not a SHA-256 in hex (64 digits)")
    if bytes.fromhex(digest) == NO_TOKEN:
        raise Unusable(f"{where}: this is the digest of an empty token")
    if unknown := [scope for scope in scopes if scope not in SCOPES]:
        raise Unusable(f"{where}: {unknown[0]!r} is no scope: use {', '.join(SCOPES)}")
    return Client(name, bytes.fromhex(digest), frozenset(scopes))
