"""Who may call the internal endpoints: the bearer of this run's token, or service accounts of the cluster.

The token of a service account is verified here and offline, against the cluster's public keys in a file that is
mounted and replaced while the server runs (`--access`).  A file that cannot be used admits nobody.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import orjson

from tidegate_runtime.metrics_http import Reply, Request, text
from tidegate_runtime.watched_file import MAX_TOKEN, TokenFile, WatchedFile

LOG = logging.getLogger(__name__)
GUARDED: Final = "/internal/"
EVIDENCE: Final = "evidence"  # the operator: reads, aims, sets rules, runs samples
COMPARE: Final = "compare"  # the stable version's servers: show requests, and nothing else
PERMISSIONS: Final = {
    "/internal/evidence": EVIDENCE,
    "/internal/shadow": EVIDENCE,
    "/internal/rules": EVIDENCE,
    "/internal/golden": EVIDENCE,
    "/internal/compare": COMPARE,
}
MAX_FILE: Final = 256 * 2**10
MOST_KNOWN: Final = 64
LEEWAY: Final = 10.0  # seconds between the clocks of two nodes
REQUIRED: Final = ["exp", "iss", "aud", "sub"]
WHY: Final = {
    "ExpiredSignatureError": "it has expired",
    "ImmatureSignatureError": "it is not valid yet",
    "InvalidAudienceError": "it is for another audience",
    "InvalidIssuerError": "another cluster issued it",
    "InvalidSignatureError": "its signature is wrong",
    "MissingRequiredClaimError": "it says too little",
}


class BadAccess(Exception):
    """The access file cannot be used; the text says why."""


class Untrusted(Exception):
    """A token that opens nothing; the text says why and holds nothing of it."""


@dataclass(frozen=True, slots=True)
class Grants:
    """What the access file says: whose tokens count, and who may do what."""

    issuer: str
    audience: str
    keys: Mapping[str, Any]  # key id -> jwt.PyJWK, whose algorithm is the only one for that key
    subjects: Mapping[str, frozenset[str]]  # permission -> service accounts


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose token it is, what it opens, and until when."""

    subject: str
    permissions: frozenset[str]
    until: float


@dataclass(frozen=True, slots=True)
class _Known:
    """Grants, the bytes they were read from, and the tokens they have admitted: replaced together, never in part."""

    content: bytes
    grants: Grants | None = None
    callers: dict[bytes, Caller] = field(default_factory=dict)  # by the token's sha256

    def caller(self, key: bytes, content: bytes) -> Caller | None:
        """Whose token it is, when that is known and the file still says the same."""
        found = self.callers.get(key)
        return found if found and self.content == content and found.until > time.time() else None


class Guard:
    """Asked before every internal request."""

    def __init__(self, token_file: Path | None, access: Path | None) -> None:
        self._token = TokenFile(token_file)
        self._accounts = None if access is None else ServiceAccounts(access)

    def start(self) -> None:
        if self._accounts is not None:
            self._accounts.start()

    def stop(self) -> None:
        if self._accounts is not None:
            self._accounts.stop()

    async def refusal(self, request: Request) -> Reply | None:
        """Why this request is not carried out; None: it may be."""
        if not request.path.startswith(GUARDED):
            return None
        token = bearer(request.headers.get("authorization", ""))
        if self._token.allows(token):
            return None
        if not token or self._accounts is None:
            return text(HTTPStatus.UNAUTHORIZED, "this endpoint needs a token that it knows")
        try:
            return await self._accounts.objection(token, request.path)
        except Untrusted as why:
            return text(HTTPStatus.UNAUTHORIZED, f"the token is not accepted: {why}")


class ServiceAccounts:
    """Judges tokens by the access file; what costs more than a look-up is done on a thread of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = WatchedFile(path, MAX_FILE)
        self._worker = ThreadPoolExecutor(1, "access")
        self._known = _Known(b"\0")  # no file's content, so that the first one is taken up

    def start(self) -> None:
        """Read the file, and import what verifies: 0.1 s of one core that no request should wait for."""
        self._worker.submit(self._take_up, self._file.content())

    def stop(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def objection(self, token: str, path: str) -> Reply | None:
        """Why the bearer may not call this path; raises Untrusted when nobody knows who it is."""
        content = self._file.content()
        key = hashlib.sha256(token.encode("latin-1")).digest()
        caller = self._known.caller(key, content)
        if caller is None:
            loop = asyncio.get_running_loop()
            caller = await loop.run_in_executor(self._worker, self._admit, token, key, content)
        permission = PERMISSIONS.get(path)
        if permission is None or permission in caller.permissions:
            return None
        return text(HTTPStatus.FORBIDDEN, f"{caller.subject} may not call this endpoint")

    def _admit(self, token: str, key: bytes, content: bytes) -> Caller:
        if self._known.content != content:
            self._take_up(content)
        known = self._known
        if known.grants is None:
            raise Untrusted("this server cannot use its list of callers")
        caller = verified(token, known.grants)
        if len(known.callers) >= MOST_KNOWN:
            known.callers.pop(next(iter(known.callers)))
        known.callers[key] = caller
        return caller

    def _take_up(self, content: bytes) -> None:
        try:
            self._known = _Known(content, read_grants(content))
        except Exception as why:  # noqa: BLE001 - whatever is wrong, the outcome is the same
            self._known = _Known(content)
            LOG.warning("%s admits nobody: %s", self._path, why)


def bearer(authorization: str) -> str:
    return authorization.removeprefix("Bearer ").strip() if authorization.startswith("Bearer ") else ""


def verified(token: str, grants: Grants) -> Caller:
    """Whose token it is; raises Untrusted."""
    import jwt

    if len(token) > MAX_TOKEN:
        raise Untrusted("it is too long")
    try:
        key = grants.keys.get(str(jwt.get_unverified_header(token).get("kid")))
        if key is None:
            raise Untrusted("no key of this cluster signed it")
        # The algorithm comes from the key, never from the token: a public key must not become an HMAC's secret.
        claims = jwt.decode(
            token, key, algorithms=[key.algorithm_name], audience=grants.audience, issuer=grants.issuer, leeway=LEEWAY,
            options={"require": REQUIRED, "enforce_minimum_key_length": True},
        )  # fmt: skip
        permissions = frozenset(name for name, subjects in grants.subjects.items() if claims["sub"] in subjects)
        return Caller(claims["sub"], permissions, float(claims["exp"]))
    except Untrusted:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a stranger's bytes do to the parsers, they open nothing
        raise Untrusted(WHY.get(type(error).__name__, "it is no token of this cluster")) from None


def read_grants(content: bytes) -> Grants:
    """The access file: {"issuer", "audience", "jwks": {"keys"}, "subjects": {permission: [subject]}}; else BadAccess.

    Fields and permissions of newer operators are left alone: they write this file for older servers too.
    """
    if not content:
        raise BadAccess("it cannot be read, is empty, or is too large")
    try:
        fields = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise BadAccess("it is not JSON") from None
    if not isinstance(fields, dict):
        raise BadAccess("it is not a JSON object")
    issuer, audience = fields.get("issuer"), fields.get("audience")
    if not (isinstance(issuer, str) and issuer and isinstance(audience, str) and audience):
        raise BadAccess("issuer and audience must be text")
    return Grants(issuer, audience, _keys(fields.get("jwks")), _subjects(fields.get("subjects")))


def _keys(jwks: Any) -> dict[str, Any]:
    rows = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(rows, list):
        raise BadAccess("jwks must be a set of keys")
    usable = {row["kid"]: key for row in rows if isinstance(row, dict) and (key := _key(row)) is not None}
    if not usable:
        raise BadAccess("jwks has no RSA or P-256 key with a key id")
    return usable


def _key(row: dict[str, Any]) -> Any:
    """A public key that can verify; None for every other kind."""
    import jwt

    kind, parts = ("RS256", ("n", "e")) if row.get("kty") == "RSA" else ("ES256", ("crv", "x", "y"))
    if row.get("kty") not in ("RSA", "EC") or row.get("crv", "P-256") != "P-256" or not isinstance(row.get("kid"), str):
        return None
    if row.get("alg", kind) != kind or row.get("use", "sig") != "sig":
        return None
    try:
        return jwt.PyJWK({"kty": row["kty"], **{name: row.get(name) for name in parts}}, kind)
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
        return None


def _subjects(given: Any) -> dict[str, frozenset[str]]:
    if not isinstance(given, dict):
        raise BadAccess("subjects must name service accounts by permission")
    found = {name: given.get(name, []) for name in (EVIDENCE, COMPARE)}
    for name, accounts in found.items():
        if not isinstance(accounts, list) or not all(isinstance(account, str) for account in accounts):
            raise BadAccess(f"subjects.{name} must be a list of texts")
    return {name: frozenset(accounts) for name, accounts in found.items()}
