"""How the flags on pods' connections are read: peers, networks, ports, addresses, each a list with commas.

Every reader raises ValueError with a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

from pydantic import ValidationError

from tidegate.api.network import Peer

MOST_PORTS = 65535
MOST = 32  # entries of a list

T = TypeVar("T")


def listed(text: str) -> Iterator[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > MOST:
        raise ValueError(f"{len(parts)} entries are more than {MOST}")
    yield from dict.fromkeys(parts)


def all_of(read: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    """A reader of lists from one of entries."""
    return lambda text: tuple(read(part) for part in listed(text))


def peer(text: str) -> Peer:
    """`10.1.0.0/16`, `monitoring`, `monitoring/app=prometheus&team=ops`, `*/app=prometheus`."""
    namespace, slash, labels = text.partition("/")
    written: dict[str, Any] = {"cidr": text} if labels.isdecimal() else {"namespace": namespace}
    if "=" in labels:
        written["pods"] = dict(label.partition("=")[::2] for label in labels.split("&"))
    elif slash and "cidr" not in written:
        raise ValueError(f"{text!r} names pods without a label: write NAMESPACE/LABEL=VALUE")
    try:
        return Peer.model_validate(written)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{text!r}: {first['loc'][0] if first['loc'] else 'peer'}: {first['msg']}") from None


def network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is not a network such as 10.20.0.0/16: {error}") from None


def own_address(text: str) -> str:
    """An address that others reach us under; empty stays empty."""
    try:
        address = ip_address(text) if text else None
    except ValueError:
        raise ValueError(f"{text!r} is no IP address") from None
    if address is not None and (address.is_unspecified or address.is_loopback):
        raise ValueError(f"nobody else reaches us at {text!r}: write the pod's address")
    return str(address or "")


def port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(MOST_PORTS)) and 1 <= int(text) <= MOST_PORTS):
        raise ValueError(f"{text!r} is not a port from 1 to {MOST_PORTS}")
    return int(text)


def endpoint(text: str) -> tuple[str, int]:
    """`169.254.170.23:80`, `[fd00:ec2::23]:80`."""
    host, _, number = text.rpartition(":")
    inner = host.removeprefix("[").removesuffix("]")
    try:
        address = ip_address(inner)
    except ValueError:
        raise ValueError(f"{text!r} is not ADDRESS:PORT, an IPv6 address in brackets") from None
    if (address.version == 6) is not (host == f"[{inner}]"):  # noqa: PLR2004
        raise ValueError(f"{text!r} is not ADDRESS:PORT, an IPv6 address in brackets")
    return str(address), port(number)
