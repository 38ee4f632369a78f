"""Signatures by the OpenSSF model-signing library, over exactly bundle.yaml, which pins everything else.

The outside command `model_signing verify key DIR --public_key K --signature DIR/bundle.sig --ignore_unsigned_files`
accepts them.  The library costs a second to import, so only what signs or verifies imports it; its own errors are
of five unrelated kinds and become three here: SignatureMissing, SignatureOtherKey, SignatureInvalid.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from tidegate.bundle.digest import digest_of
from tidegate.bundle.errors import SignatureRefused
from tidegate.bundle.manifest import read_bundle_dir
from tidegate.bundle.paths import MANIFEST_NAME, SIGNATURE_NAME, read_plain_file
from tidegate.errors import Invalid

CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})
MAX_KEY_BYTES = 64 * 2**10


def generate_keys(private: Path, public: Path) -> None:
    """Write a new ECDSA P-256 key pair in PEM; neither file may exist."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    require_absent(private, public)
    key = ec.generate_private_key(ec.SECP256R1())
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    open_half = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    write_new(private, secret, 0o600)
    write_new(public, open_half, 0o644)


def read_public_key(path: Path) -> bytes:
    """The content of a file with a public key (PEM), which may be a link; raises Invalid when there is none."""
    if not path.is_file():
        raise Invalid("no such file", where=str(path), do="name the public key")
    return read_plain_file(path.resolve(), limit=MAX_KEY_BYTES)


def sign(folder: Path, key: Path) -> Path:
    """Sign the manifest of a bundle directory; writes bundle.sig beside it and gives its path."""
    import model_signing

    bundle = read_bundle_dir(folder)
    _check_private_key(key)
    target = folder / SIGNATURE_NAME
    with tempfile.TemporaryDirectory() as temporary:
        alone = _alone(Path(temporary), bundle.raw)
        fresh = Path(temporary) / SIGNATURE_NAME
        config = model_signing.signing.Config()  # type: ignore[no-untyped-call]
        config.use_elliptic_key_signer(private_key=key).sign(alone, fresh)
        content = fresh.read_bytes()
    beside = target.with_name(f".{SIGNATURE_NAME}.{os.getpid()}")
    write_new(beside, content, 0o644)
    beside.replace(target)
    return target


def verify_signature(raw_manifest: bytes, signature: bytes | None, public_key: bytes, *, where: str = "") -> None:
    """Check that `signature` is by `public_key` and over these bytes; SignatureRefused says which it is not."""
    hint = _hint_of(public_key)
    if signature is None:
        raise SignatureRefused(
            "there is no signature, and one is required",
            where=where,
            do="sign the bundle (tidegate sign) and push it again",
            reason="SignatureMissing",
        )
    envelope = _Envelope(signature, where)
    if envelope.hint != hint:
        raise SignatureRefused(
            "signed with another key",
            where=where,
            do=f"expected the key sha256:{hint[:16]}…, found sha256:{envelope.hint[:16]}…",
            reason="SignatureOtherKey",
        )
    if envelope.signed != {MANIFEST_NAME: digest_of(raw_manifest).removeprefix("sha256:")}:
        raise _invalid("signs other bytes than this manifest", where)
    _verify(raw_manifest, signature, public_key, where)


class _Envelope:
    """What a signature file claims; nothing here is trusted before the library verified it."""

    def __init__(self, signature: bytes, where: str) -> None:
        try:
            document: Any = json.loads(signature)
            self.hint = str(document["verificationMaterial"]["publicKey"]["hint"])
            statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
            resources = statement["predicate"]["resources"]
            self.signed = {str(row["name"]): str(row["digest"]) for row in resources if row["algorithm"] == "sha256"}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise _invalid("is no signature of the model-signing kind", where) from None


def _verify(raw_manifest: bytes, signature: bytes, public_key: bytes, where: str) -> None:
    import model_signing

    with tempfile.TemporaryDirectory() as temporary:
        alone = _alone(Path(temporary), raw_manifest)
        written, key = Path(temporary) / SIGNATURE_NAME, Path(temporary) / "key.pub"
        written.write_bytes(signature)
        key.write_bytes(public_key)
        try:
            config = model_signing.verifying.Config()  # type: ignore[no-untyped-call]
            config.use_elliptic_key_verifier(public_key=key).verify(alone, written)
        except Exception:  # noqa: BLE001  (ValueError, KeyError, AttributeError, InvalidSignature, pydantic's: all mean no)
            raise _invalid("does not match this manifest and key", where) from None


def _invalid(what: str, where: str) -> SignatureRefused:
    return SignatureRefused(
        f"the signature {what}", where=where, do="the manifest or the signature was changed: sign and push again"
    )


def _alone(folder: Path, raw_manifest: bytes) -> Path:
    """A directory that holds nothing but the manifest: what is signed."""
    alone = folder / "bundle"
    alone.mkdir()
    (alone / MANIFEST_NAME).write_bytes(raw_manifest)
    return alone


def _hint_of(public_key: bytes) -> str:
    """The fingerprint that model-signing writes into its signatures: sha256 of the key in PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_public_key(public_key)
    except ValueError:
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise Invalid("not an ECDSA public key in PEM", where="public key", do="make a pair with tidegate keygen")
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _check_private_key(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise Invalid(f"cannot be read: {error.strerror}", where=str(path)) from None
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in CURVES:
        raise Invalid("not an ECDSA private key in PEM without a password", where=str(path), do="tidegate keygen")


def require_absent(*paths: Path) -> None:
    """Refuse to write a key where something is."""
    for path in paths:
        if path.exists() or path.is_symlink():
            raise Invalid("is there already, and a key is never overwritten", where=str(path), do="name another file")


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that must not exist yet."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except OSError as error:
        raise Invalid(f"cannot be written: {error.strerror}", where=str(path)) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
