"""What pods have besides where a bundle is encrypted, so that its plain text is in their memory and nowhere else.

    the init step, a Job     the age key as a file; the ciphertext on a disk or a shared volume, as that of any bundle
    /plain                   in memory, as large as the files are: the init step writes there, the server only reads
    /tmp                     in memory as well: nobody knows what libraries write there
    memory                   requests and limits of who decrypts count /plain besides what the spec gives

A pod may use as much as the largest of its init steps, and what that has written stays charged to the pod: so the
server keeps for itself all that the spec gives it.
"""

from __future__ import annotations

from typing import Any

from tidegate.api.bundle import SecretKeyRef
from tidegate.plan.manifests import quantities
from tidegate.plan.manifests.volumes import TMP, TMP_SIZE, Volume, in_memory, secret_key

PLAIN = "/plain"
KEYS = "/etc/tidegate/decryption"
SCRATCH = in_memory(TMP.name, TMP_SIZE, TMP.path)


def plain(size: str) -> Volume:
    """Where the decrypted bundle is."""
    return in_memory("plain", size, PLAIN)


def age_key(reference: SecretKeyRef | None) -> tuple[Volume, ...]:
    """The key, for who decrypts."""
    return (secret_key("decryption", reference, KEYS),) if reference else ()


def identity(reference: SecretKeyRef | None) -> list[str]:
    """The flag that names it."""
    return ["--identity", f"{KEYS}/{reference.key}"] if reference else []


def with_room(resources: dict[str, Any], size: int) -> dict[str, Any]:
    """Requests and limits with so many bytes more of memory."""
    if not size:
        return resources
    return {
        kind: {**amounts, "memory": quantities.mebibytes(size, amounts["memory"])} if "memory" in amounts else amounts
        for kind, amounts in resources.items()
    }
