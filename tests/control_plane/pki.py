"""The certificates and keys of a control plane: one authority, made anew for each and good for a day."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
API_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
FIRST_SERVICE = "10.96.0.1"  # the address that `kubernetes.default.svc` stands for
FRONT_PROXY = "front-proxy-client"
KUBELET_CLIENT = "kube-apiserver-kubelet-client"  # how the API server is known to a kubelet
LIFE = datetime.timedelta(days=1)
EARLIER = datetime.timedelta(hours=1)  # clocks differ


@dataclass(frozen=True, slots=True)
class Pki:
    """The files; `accounts` signs the tokens of service accounts."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def ca_key(self) -> Path:
        return self.folder / "ca.key"

    @property
    def server(self) -> Path:
        return self.folder / "server.crt"

    @property
    def server_key(self) -> Path:
        return self.folder / "server.key"

    @property
    def front_proxy(self) -> Path:
        return self.folder / "front-proxy.crt"

    @property
    def front_proxy_key(self) -> Path:
        return self.folder / "front-proxy.key"

    @property
    def kubelet_client(self) -> Path:
        return self.folder / "kubelet-client.crt"

    @property
    def kubelet_client_key(self) -> Path:
        return self.folder / "kubelet-client.key"

    @property
    def accounts(self) -> Path:
        return self.folder / "accounts.key"


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = named("tidegate tests")
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        begun = (
            begin(name, name, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return cls(key, begun.sign(key, hashes.SHA256()))

    def issue(
        self,
        name: str,
        use: x509.ObjectIdentifier,
        alternatives: list[x509.GeneralName],
        *,
        begins: datetime.timedelta = -EARLIER,
        ends: datetime.timedelta = LIFE,
    ) -> tuple[bytes, bytes]:
        """A certificate and its key, as PEM; good from and until these times from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        begun = (
            begin(named(name), self.certificate.subject, key, begins, ends)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(issuer, critical=False)
        )
        if alternatives:
            begun = begun.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = begun.sign(self.key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM), pem(key)


def make_pki(folder: Path, addresses: Iterable[str]) -> Pki:
    """Write the files into `folder`; the server certificate is good for all the `addresses`."""
    folder.mkdir(parents=True)
    pki = Pki(folder)
    authority = Authority.new()
    pki.ca.write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
    write_key(pki.ca_key, pem(authority.key))
    everywhere = [ipaddress.ip_address(address) for address in ("127.0.0.1", FIRST_SERVICE, *addresses)]
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in API_NAMES]
    names += [x509.IPAddress(address) for address in everywhere]
    certificate, key = authority.issue("kube-apiserver", ExtendedKeyUsageOID.SERVER_AUTH, names)
    pki.server.write_bytes(certificate)
    write_key(pki.server_key, key)
    for name, file, key_file in (
        (FRONT_PROXY, pki.front_proxy, pki.front_proxy_key),
        (KUBELET_CLIENT, pki.kubelet_client, pki.kubelet_client_key),
    ):
        certificate, key = authority.issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, [])
        file.write_bytes(certificate)
        write_key(key_file, key)
    # RSA, as clusters have it: who checks the tokens must know RS256.
    write_key(pki.accounts, pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)))
    return pki


def begin(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begins: datetime.timedelta = -EARLIER,
    ends: datetime.timedelta = LIFE,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def pem(key: PrivateKey) -> bytes:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def write_key(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
