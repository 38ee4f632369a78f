"""The certificate of a client's own, for servers that ask for one."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from tidegate.errors import Invalid


@dataclass(frozen=True, slots=True)
class Certificate:
    """The PEM files of a certificate and its key, which has no password: nobody is asked for one at a terminal."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """A client's side of TLS that shows it; raises Invalid when the files cannot be used."""
        context = ssl.create_default_context()
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (ssl.SSLError, ValueError):
            raise Invalid("not a PEM certificate and its key without a password", where=self._where) from None
        except OSError as error:
            raise Invalid(f"cannot be read: {error.strerror}", where=self._where) from None
        return context

    def contents(self) -> tuple[bytes, bytes]:
        """The key and the certificate as grpc takes them; raises Invalid when they cannot be used."""
        self.context()
        return self.key.read_bytes(), self.certificate.read_bytes()

    @property
    def _where(self) -> str:
        return f"{self.certificate} with {self.key}"


def _no_password() -> str:
    raise ValueError
