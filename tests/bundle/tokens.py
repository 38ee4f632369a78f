"""A token server such as registries name: a login for a signed token that says what may be done, for one hour."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.bundle.registry import PASSWORD, USER
from tests.control_plane.pki import Authority

ISSUER, SERVICE = "tests", "models"
LOGIN = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@dataclass(slots=True)
class TokenServer:
    """`asked` are the requests: (authorization, scopes); `pulls_for_all` gives tokens to whoever only wants to read.

    `hidden` is a repository that nobody gets a token for.
    """

    folder: Path
    realm: str = ""
    pulls_for_all: bool = False
    hidden: str = ""
    asked: list[tuple[str, list[str]]] = field(default_factory=list)

    def auth(self) -> dict[str, Any]:
        """What the registry's configuration says of it."""
        bundle = str(self.folder / "token-ca.pem")
        return {"token": {"realm": self.realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": bundle}}


@contextlib.contextmanager
def token_server(folder: Path) -> Iterator[TokenServer]:
    """Serve on loopback."""
    server = TokenServer(folder)
    authority = Authority.new()
    (folder / "token-ca.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    certificate, key = authority.issue("tokens", ExtendedKeyUsageOID.SERVER_AUTH, [])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
            login = self.headers.get("Authorization", "")
            server.asked.append((login, scopes))
            free = server.pulls_for_all and all(scope.endswith(":pull") for scope in scopes)
            hidden = any(scope.split(":")[1] == server.hidden for scope in scopes)
            if hidden or (login != LOGIN and (login or not free)):
                return self._send(401, b"{}")
            return self._send(200, json.dumps({"token": _token(key, certificate, scopes)}).encode())

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Silence."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.realm = f"http://127.0.0.1:{http.server_address[1]}/token"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join(timeout=10)


def _token(key: bytes, certificate: bytes, scopes: list[str]) -> str:
    """A JSON web token, signed by a certificate of the authority that the registry trusts."""
    signer = load_pem_private_key(key, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    chain = load_pem_x509_certificate(certificate).public_bytes(Encoding.DER)
    head = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(chain).decode()]}
    now = int(time.time())
    access = [dict(zip(("type", "name", "actions"), scope.split(":"), strict=True)) for scope in scopes]
    claims = {
        "iss": ISSUER, "sub": USER, "aud": SERVICE, "exp": now + 3600, "nbf": now - 60, "iat": now, "jti": str(now),
        "access": [{**row, "actions": row["actions"].split(",")} for row in access],
    }  # fmt: skip
    signed = ".".join(_part(json.dumps(row).encode()) for row in (head, claims))
    r, s = decode_dss_signature(signer.sign(signed.encode(), ec.ECDSA(SHA256())))
    return f"{signed}.{_part(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
