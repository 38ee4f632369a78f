"""What makes every pod of ours meet Pod Security `restricted`, and what else no pod of ours should have.

No user or group id is named: the image brings its own, and some clusters assign ids per namespace.
"""

from __future__ import annotations

from typing import Any

CACHE_GROUP = 65532  # the image's own group


def pod_security(group: int | None = None) -> dict[str, Any]:
    """The pod's security context; `group` may write to the volumes."""
    context: dict[str, Any] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    shared = {"fsGroup": group, "fsGroupChangePolicy": "OnRootMismatch"}
    return context if group is None else {**context, **shared}


def container_security() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def no_privileges() -> dict[str, Any]:
    """A pod that cannot call the API server and knows of no other Service."""
    return {"automountServiceAccountToken": False, "enableServiceLinks": False}
