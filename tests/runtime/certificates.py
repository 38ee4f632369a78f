"""Certificates of servers and clients for tests of TLS, and the files that a server is given."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.control_plane.pki import Authority

LOOPBACK = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


@dataclass
class Files:
    """A folder with `tls.crt`, `tls.key` and `ca.crt`, as a Secret of type kubernetes.io/tls has them."""

    folder: Path
    authority: Authority = field(default_factory=Authority.new)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca.write_bytes(self.authority.certificate.public_bytes(Encoding.PEM))
        self.renew()

    @property
    def certificate(self) -> Path:
        return self.folder / "tls.crt"

    @property
    def key(self) -> Path:
        return self.folder / "tls.key"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def flags(self) -> tuple[str, ...]:
        return ("--tls-cert", str(self.certificate), "--tls-key", str(self.key))

    @property
    def mutual(self) -> tuple[str, ...]:
        return (*self.flags, "--tls-client-ca", str(self.ca))

    def renew(self, **times: timedelta) -> None:
        """Another certificate for the server, and its key; `times` as of `Authority.issue`."""
        certificate, key = self.authority.issue("fraud", ExtendedKeyUsageOID.SERVER_AUTH, list(LOOPBACK), **times)
        replace(self.certificate, certificate)
        replace(self.key, key)

    def client(self, name: str, authority: Authority | None = None) -> tuple[Path, Path]:
        """The files of a client's certificate and key."""
        issued = (authority or self.authority).issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, [])
        paths = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        for path, content in zip(paths, issued, strict=True):
            path.write_bytes(content)
        return paths

    def trusting(self, pair: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """A client's side, which trusts the authority and shows the certificate of `pair`, if there is one."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if pair is not None:
            context.load_cert_chain(*pair)
        return context


def replace(path: Path, content: bytes) -> None:
    """Put a new file in the place of the old one, as whoever manages certificates does."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(path)
