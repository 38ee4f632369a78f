"""Where a bundle is to come from, with what proof and credentials, and how much it may cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from tidegate.bundle.digest import hex_of
from tidegate.bundle.uri import BundleUri, parse_uri
from tidegate.errors import Invalid

Progress = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True, slots=True)
class Access:
    """How to get at a store.

    `credentials` hold AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL;
    `ca.crt` (PEM) or AWS_CA_BUNDLE (a path or PEM); `.dockerconfigjson` for https hosts and registries.  They go only
    to the hosts they are for and are never printed.  `ambient` adds what the environment offers: for a person's
    command line, or a pod whose service account has a cloud identity.
    """

    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_loopback: bool = False
    ambient: bool = False

    @property
    def ca(self) -> str:
        return self.credentials.get("ca.crt") or self.credentials.get("AWS_CA_BUNDLE", "")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a fetch may cost; beyond it, it ends with TooLarge or StoreTimeout."""

    bytes: int = 256 * 2**30
    files: int = 10_000
    seconds: float = 3600.0
    stall: float = 60.0  # seconds without a single block


@dataclass(frozen=True, slots=True)
class Source:
    """A bundle by address; `digest` pins it and `public_key` (PEM) demands its signature."""

    uri: str
    digest: str | None = None
    public_key: bytes | None = None
    access: Access = field(default_factory=Access)

    def address(self) -> BundleUri:
        """The parsed address with the pin of either place; Invalid when the two differ."""
        address = parse_uri(self.uri)
        if self.digest is not None:
            hex_of(self.digest)
        if address.digest and self.digest and address.digest != self.digest:
            raise Invalid(f"the address pins {address.digest}, but {self.digest} was asked for", where=self.uri)
        return replace(address, digest=address.digest or self.digest)
