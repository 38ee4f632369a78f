"""A cluster as far as tokens go: its signing keys, the access file it would mount, and tokens of its accounts."""

from __future__ import annotations

import functools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER = "https://kubernetes.default.svc.cluster.local"
OPERATOR = "system:serviceaccount:tidegate:operator"
SIBLING = "system:serviceaccount:shop:default"
SUBJECTS = {"evidence": [OPERATOR], "compare": [SIBLING]}
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Key:
    """One signing key under its id."""

    kid: str
    private: Private
    algorithm: str

    def public(self) -> dict[str, Any]:
        """As the cluster publishes it."""
        key = self.private.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            row = RSAAlgorithm.to_jwk(key, as_dict=True)
        else:
            row = ECAlgorithm.to_jwk(key, as_dict=True)
        return {**row, "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def pem(self) -> bytes:
        """The public key in the form that a confused verifier would take for a password."""
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def token(self, subject: str = OPERATOR, *, algorithm: str = "", headers: Any = None, **claims: Any) -> str:
        """What the API server gives a pod; a claim that is None is left out."""
        now = int(time.time())
        usual = {"iss": ISSUER, "aud": ["tidegate"], "sub": subject, "exp": now + 3600, "iat": now, "nbf": now}
        said = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        return jwt.encode(
            said, self.private, algorithm or self.algorithm, headers={"kid": self.kid} if headers is None else headers
        )


@functools.cache
def rsa_key(kid: str = "rsa", bits: int = 2048) -> Key:
    return Key(kid, rsa.generate_private_key(65537, bits), "RS256")


@functools.cache
def ec_key(kid: str = "ec", curve: ec.EllipticCurve | None = None) -> Key:
    return Key(kid, ec.generate_private_key(curve or ec.SECP256R1()), "ES256")


def access_document(*keys: Key, **changes: Any) -> bytes:
    """The content of access.json."""
    usual = {"issuer": ISSUER, "audience": "tidegate", "jwks": {"keys": [key.public() for key in keys]}}
    return json.dumps({**usual, "subjects": SUBJECTS, **changes}).encode()


class Mounted:
    """A ConfigMap's volume: the file is reached through two links, and an update swaps the first one."""

    def __init__(self, folder: Path, content: bytes) -> None:
        self._folder = folder
        self._count = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "access.json"
        self.file.symlink_to("..data/access.json")
        self.swap(content)

    def swap(self, content: bytes) -> None:
        """Replace it as the kubelet does."""
        self._count += 1
        version = self._folder / f"..{self._count}"
        version.mkdir()
        (version / "access.json").write_bytes(content)
        link = self._folder / "..data_tmp"
        link.symlink_to(version.name)
        link.rename(self._folder / "..data")
