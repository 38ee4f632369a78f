"""What the installation gives to every deployment; a change of it makes no new pods of what is there already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.api.network import Peer


@dataclass(frozen=True, slots=True)
class Network:
    """Which connections of pods the installation allows; each deployment's spec adds to them."""

    metrics: tuple[Peer, ...] = ()  # who reads what servers count: the operator, Prometheus
    stores: tuple[str, ...] = ("0.0.0.0/0", "::/0")  # networks that bundles may come from
    store_ports: tuple[int, ...] = (443,)  # besides those that a spec's own addresses name
    identity: tuple[tuple[str, int], ...] = ()  # address and port of what gives pods a cloud's credentials


@dataclass(frozen=True, slots=True)
class Platform:
    """The operator's settings, as far as objects show them."""

    runtime_image: str  # where `runtime.image` is not given
    # Who may call the servers' internal endpoints, as their `--access` reads it; "": nobody; None: not known yet.
    access: str | None = ""
    network: Network = Network()
    # The Prometheus servers that specs may name, where KEDA may ask them; None: there is no KEDA.
    keda: Mapping[str, str] | None = None
