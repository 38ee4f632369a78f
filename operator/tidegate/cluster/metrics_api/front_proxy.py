"""Who may ask: the API server's front proxy, known by its certificate.

The API server publishes which authority signs it, and under which names, in a ConfigMap.  It has authenticated whoever
asks, and asked RBAC whether they may, before it passes a request on to us.  So we ask no SubjectAccessReview, which
would put the same question to the same rules again, and do not even read the user's name: what counts is that the
request comes by way of the API server.  Nobody else has such a certificate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.errors import Failed

NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"
AUTHORITY, NAMES = "requestheader-client-ca-file", "requestheader-allowed-names"


@dataclass(frozen=True, slots=True)
class FrontProxy:
    """Its authority as PEM, and the common names that it goes by; none: any."""

    authority: str
    names: frozenset[str]

    def admits(self, certificate: Mapping[str, Any] | None) -> bool:
        """Whether a certificate of that authority, as `ssl` tells it, is the front proxy's."""
        return bool(certificate) and (not self.names or bool(self.names & common_names(certificate or {})))


def common_names(certificate: Mapping[str, Any]) -> set[str]:
    parts = (pair for part in certificate.get("subject") or () for pair in part)
    return {str(value) for name, value in parts if name == "commonName"}


def read_front_proxy(config_map: Mapping[str, Any] | None) -> FrontProxy:
    """What the ConfigMap says; Failed where the cluster has no aggregation layer."""
    told = (config_map or {}).get("data") or {}
    try:
        names = json.loads(told.get(NAMES) or "[]")
        found = FrontProxy(str(told[AUTHORITY]), frozenset(map(str, names)))
    except (KeyError, ValueError, TypeError):
        found = FrontProxy("", frozenset())
    if "BEGIN CERTIFICATE" not in found.authority:
        raise Failed(
            f"ConfigMap {NAMESPACE}/{NAME} says nothing of a front proxy",
            do="start the API server with --requestheader-client-ca-file, or install another source of metrics",
        )
    return found
