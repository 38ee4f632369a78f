"""Clients with tokens, and the file that makes a server know them."""

from __future__ import annotations

import hashlib

TOKENS = {"ana": "token of ana", "ben": "token of ben", "eve": "token of eve"}
SCOPES = {"ana": "infer", "ben": "metadata", "eve": "infer,metadata,explain"}


def lines(*names: str) -> bytes:
    digests = {name: hashlib.sha256(TOKENS[name].encode()).hexdigest() for name in names}
    return "".join(f"{name} {digest} {SCOPES[name]}\n" for name, digest in digests.items()).encode()


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {TOKENS[name]}"}
