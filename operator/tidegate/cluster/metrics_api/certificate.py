"""What we show to the API server: a certificate of an authority that lives and ends with this process.

Its key is never written anywhere, so no right on Secrets is needed and nothing can be stolen from the API.  The API
server is told of the authority (`caBundle`), not of the certificate: a new one every day needs no word to anybody.
"""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE = timedelta(days=3650)
CERTIFICATE_LIFE = timedelta(days=7)
EARLIER = timedelta(hours=1)  # clocks differ


class Authority:
    """Signs for one name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = (
            begun(f"{name}-ca", f"{name}-ca", self._key, AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
                    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )  # fmt: skip

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def context(self, believed: str) -> ssl.SSLContext:
        """A new certificate of ours, for who shows one of the authorities in `believed` (PEM)."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            begun(self._name, f"{self._name}-ca", key, CERTIFICATE_LIFE)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(self._name)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=believed)
        context.verify_mode = ssl.CERT_REQUIRED
        # Go's clients accept authorities without key identifiers; Python 3.13 does not unless told.
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
        load(context, certificate.public_bytes(serialization.Encoding.PEM) + plain(key))
        return context


def begun(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, life: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + life)
    )


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def plain(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def load(context: ssl.SSLContext, pem: bytes) -> None:
    """Python's `ssl` reads keys from files only: this one is memory, for a pod's file system is not to be written."""
    with os.fdopen(os.memfd_create("certificate"), "wb") as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
