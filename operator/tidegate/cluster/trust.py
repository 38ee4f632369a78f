"""Whose tokens the model servers believe: the cluster's public keys, and the operator's own name.

Servers verify the operator's service-account token offline, against keys that a ConfigMap of their deployment carries;
this reads those keys from the API server, again every hour, because clusters rotate them.
"""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path
from typing import Any

from tidegate.cluster.connection import Call, Connection
from tidegate.cluster.errors import ClusterError

AUDIENCE = "tidegate"
AGAIN_SECONDS = 3600.0
AFTER_TROUBLE_SECONDS = 10.0
DEADLINE_SECONDS = 10.0
TOKEN_LIMIT = 4 * 1024  # servers take no longer one
DISCOVERY = Call("get", "GET", "/.well-known/openid-configuration", "the discovery document")
KEYS = Call("get", "GET", "/openid/v1/jwks", "the public keys", accept="application/jwk-set+json")

log = logging.getLogger(__name__)


class OwnToken:
    """The operator's token for servers, as the kubelet keeps it fresh; read at each use, for a read costs 10 µs."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @property
    def given(self) -> bool:
        """Whether there is to be one."""
        return self._path is not None

    def __call__(self) -> str:
        if self._path is None:
            return ""
        try:
            with self._path.open("rb") as file:
                return file.read(TOKEN_LIMIT).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            log.warning("the token for servers cannot be read: %s", error)
            return ""


async def read_access(connection: Connection, token: OwnToken) -> str:
    """The access document for servers; empty, and then they answer nobody, without a token of our own."""
    subject = claims(token()).get("sub")
    if not subject:
        return ""
    discovery = await connection.send(DISCOVERY, DEADLINE_SECONDS)
    keys = await connection.send(KEYS, DEADLINE_SECONDS)
    document = {
        "issuer": discovery["issuer"],
        "audience": AUDIENCE,
        "jwks": {"keys": sorted(keys["keys"], key=lambda key: str(key.get("kid")))},
        "subjects": {"evidence": [subject], "compare": []},
    }
    return json.dumps(document, sort_keys=True)


def claims(token: str) -> dict[str, Any]:
    """What our own token says; nobody trusts this reading, servers verify it."""
    try:
        payload = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


async def try_access(connection: Connection, token: OwnToken, before: str | None) -> str | None:
    """The document as it is now; the one of before, or None, when token or API server do not say."""
    try:
        access = await read_access(connection, token)
    except (ClusterError, KeyError, TypeError) as error:
        log.warning("the cluster's public keys cannot be read, what is known stays: %s", error)
        return before
    if not access and token.given:
        log.warning("the token for servers is none, what is known stays")
        return before
    return access
