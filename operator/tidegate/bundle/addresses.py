"""Which network addresses a bundle may come from.

A bundle address is a user's text, and the fetch runs inside the cluster.  So a name is resolved once, every address
it stands for is judged, and the connection goes to exactly those: a name that changes its mind later gains nothing.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass

from tidegate.bundle.errors import Denied, Unreachable

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds serve credentials to whoever asks, besides 169.254.169.254 (which is link-local).
METADATA = frozenset({"100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"})


@dataclass(frozen=True, slots=True)
class Origin:
    """A host as it was named, and the checked addresses it stands for."""

    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]

    @property
    def authority(self) -> str:
        usual = {"https": 443, "http": 80}[self.scheme]
        return self.host if self.port == usual else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


def resolve_origin(scheme: str, host: str, port: int, *, allow_loopback: bool) -> Origin:
    """Resolve a host once and judge each of its addresses; Denied names the one that must not be used."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unreachable(
            f"the name does not resolve: {error.strerror}", where=host, do="check the spelling and the DNS"
        ) from None
    addresses = tuple(dict.fromkeys(str(row[4][0]) for row in found))
    for address in addresses:
        if objection := objection_to(address, allow_loopback=allow_loopback):
            raise Denied(
                f"{host} is {address}, {objection}",
                where=f"{scheme}://{host}",
                do="bundles are not fetched from there",
                reason="AddressRefused",
            )
    return Origin(scheme, host, port, addresses)


def is_here(place: str) -> bool:
    """Whether a host, with a port or not, is this machine by its very name: nothing for it crosses a network."""
    host = place.partition(":")[0]
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def objection_to(address: str, *, allow_loopback: bool) -> str:
    """Why no bundle may come from this address; empty: it may."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    ip: IpAddress = parsed
    if isinstance(parsed, ipaddress.IPv6Address):
        ip = parsed.ipv4_mapped or parsed.sixtofour or parsed
    if ip.is_loopback:
        return "" if allow_loopback else "a loopback address"
    if ip.is_link_local or str(ip) in METADATA:
        return "a link-local or metadata address"
    if ip.is_unspecified or ip.is_multicast or ip.is_reserved:
        return "no address of a host"
    if str(ip) == os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "the API server of this cluster"
    return ""
