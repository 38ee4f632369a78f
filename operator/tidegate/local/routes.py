"""What the proxy should do, as values: which model names and hosts lead to which servers, and in what shares.

`envoy.py` turns these into Envoy's own configuration; nothing here knows Envoy, nothing there knows deployments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Backend:
    """The servers of one revision, by port of the loopback interface."""

    revision: str
    number: int  # the revision's own, which is what the TensorFlow Serving API calls a version
    version: str
    ports: tuple[int, ...]
    tls: bool = False


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """How requests for one model are spread.

    `weights` are integers by revision that sum to 100, or empty when nothing may be routed yet; `pin` is the revision
    that `headers` lead to.  A backend without ports keeps its share, so that its loss never sends more to the other.
    """

    model: str
    hostnames: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    pin: str | None = None
    weights: Mapping[str, int] = field(default_factory=dict)
    backends: tuple[Backend, ...] = ()

    def cluster(self, revision: str) -> str:
        return f"{self.model}/{revision}"


@dataclass(frozen=True, slots=True)
class Listen:
    """Where clients come in."""

    host: str
    port: int
