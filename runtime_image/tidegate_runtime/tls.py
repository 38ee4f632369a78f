"""The server's certificate and key, and the authority of its clients' certificates: files that are replaced in use.

Every connection shakes hands with a context of its time: a new certificate, and an authority that is gone, count from
the next connection on, and no session of the old ones can be resumed with the new.
"""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from tidegate_runtime.reloading import Unusable
from tidegate_runtime.watched_file import WatchedFile

HTTP, HTTP2 = "http/1.1", "h2"  # as ALPN calls them
MAX_FILE: Final = 1 << 20
NO_CHECK_TIME: Final = 0x200000  # OpenSSL's flag, which the ssl module does not name
TRIES: Final = 3  # when files are replaced while they are read
SENTENCES: Final = {
    "KEY_VALUES_MISMATCH": "the key is not the certificate's",
    "NO_START_LINE": "it is not PEM",
    "EE_KEY_TOO_SMALL": "the key is too short",
    "CA_MD_TOO_WEAK": "its signature is too weak",
}


@dataclass(frozen=True, slots=True)
class Contents:
    """What the files hold, PEM; `client_ca` is empty where clients need no certificate."""

    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes


class TlsFiles:
    """Contexts of what the files say, one for each protocol; `look` is called by the thread that reads files again."""

    flag = "tls-cert"

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        paths = (certificate, key) if client_ca is None else (certificate, key, client_ca)
        self._files = {path: WatchedFile(path, MAX_FILE) for path in paths}
        self.failed = 0  # handshakes
        self.contents: Contents | None = None
        self.expires: float | None = None  # Unix time; None: the certificate does not say it to who verifies it
        self._contexts: dict[str, ssl.SSLContext] = {}
        self.look()

    def look(self) -> bool:
        """Take up what the files say now; whether that is something new. Raises Unusable and keeps what it has."""
        for _ in range(TRIES):
            contents = self._read()
            if contents == self.contents:
                return False
            try:
                contexts = {protocol: self._context(contents, protocol) for protocol in (HTTP, HTTP2)}
            except Unusable:
                if contents == self._read():
                    raise
                continue
            if contents == self._read():  # the ssl module reads the files itself: now it has read these
                self.contents, self._contexts = contents, contexts
                self.expires = self._expiry(contents)
                return True
        raise Unusable(f"{self._certificate}: it changes all the time")

    @property
    def asks_clients(self) -> bool:
        """Whether clients need a certificate."""
        return self._client_ca is not None

    def context(self, protocol: str) -> ssl.SSLContext:
        """For the next connection of this protocol."""
        return self._contexts[protocol]

    def _expiry(self, contents: Contents) -> float | None:
        """When the certificate expires: the ssl module tells that of the other side's only, so one is put there.

        A library that reads certificates would cost 0.15 s and 13 MB.
        """
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            client.load_verify_locations(cadata=contents.certificate.decode("ascii", "ignore"))
            there = client.wrap_bio(to_client, to_server)
            here = self._context(replace(contents, client_ca=b""), HTTP).wrap_bio(
                to_server, to_client, server_side=True
            )
            for side in (there, here, there):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
            return float(ssl.cert_time_to_seconds(str((there.getpeercert() or {})["notAfter"])))
        except (Unusable, ssl.SSLError, ValueError, KeyError):
            return None

    def _read(self) -> Contents:
        found = {path: file.content() for path, file in self._files.items()}
        for path, content in found.items():
            if not content:
                raise Unusable(f"{path}: it cannot be read, is empty, or is larger than {MAX_FILE} bytes")
        client_ca = b"" if self._client_ca is None else found[self._client_ca]
        return Contents(found[self._certificate], found[self._key], client_ca)

    def _context(self, contents: Contents, protocol: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols([protocol])
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except _HasPassword:
            raise Unusable(f"{self._key}: the key has a password: write it without one") from None
        except (OSError, ValueError) as error:
            raise Unusable(f"{self._certificate} with {self._key}: {_sentence(error)}") from None
        if contents.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                context.load_verify_locations(cadata=contents.client_ca.decode("ascii", "ignore"))
            except (ssl.SSLError, ValueError) as error:
                raise Unusable(f"{self._client_ca}: {_sentence(error)}") from None
        return context


class _HasPassword(Exception):
    """A key is encrypted, and nobody is there to be asked."""


def _no_password() -> str:
    raise _HasPassword


def _sentence(error: Exception) -> str:
    reason = getattr(error, "reason", None) or ""
    return SENTENCES.get(reason, f"not a usable PEM file ({reason})" if reason else "not a usable PEM file")


def name_of(certificate: dict[str, object] | None) -> str:
    """Whose certificate it is, as `SSLSocket.getpeercert` gives it: its common name, else its first other name."""
    if not certificate:
        return ""
    subject, others = certificate.get("subject"), certificate.get("subjectAltName")
    pairs = [pair for part in subject for pair in part] if isinstance(subject, tuple) else []
    common = [str(value) for key, value in pairs if key == "commonName"]
    other = [str(value) for _, value in others] if isinstance(others, tuple) else []
    return (common + other + [""])[0]
