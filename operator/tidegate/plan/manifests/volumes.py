"""Volumes of our pods, each declared once with the place where containers find it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tidegate.api.bundle import SecretKeyRef

TMP_SIZE = "2Gi"  # onnxruntime's, TensorRT's and botocore's scratch; the root file system is read-only


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume and its mount point."""

    name: str
    source: dict[str, Any]
    path: str

    @property
    def declared(self) -> dict[str, Any]:
        return {"name": self.name, **self.source}

    @property
    def read_only(self) -> dict[str, Any]:
        return {"name": self.name, "mountPath": self.path, "readOnly": True}

    @property
    def writable(self) -> dict[str, Any]:
        return {"name": self.name, "mountPath": self.path}


def in_memory(name: str, size: str, path: str) -> Volume:
    """A folder that no disk backs; what is in it counts against the memory limit of whoever writes it."""
    return Volume(name, {"emptyDir": {"medium": "Memory", "sizeLimit": size}}, path)


TMP = Volume("tmp", {"emptyDir": {"sizeLimit": TMP_SIZE}}, "/tmp")  # noqa: S108  (the pod's own)


def claim(name: str, claim_name: str, path: str, *, read_only: bool = False) -> Volume:
    """A PersistentVolumeClaim of the namespace."""
    named: dict[str, Any] = {"claimName": claim_name}
    return Volume(name, {"persistentVolumeClaim": {**named, "readOnly": True} if read_only else named}, path)


def secret(name: str, secret_name: str, path: str) -> Volume:
    """A Secret of the namespace.

    Optional, because a pod that waits for a volume says so in an event only, while a program that misses a file, or
    a container that misses its environment, says it in the pod's status.
    """
    return Volume(name, {"secret": {"secretName": secret_name, "optional": True}}, path)


def secret_key(name: str, reference: SecretKeyRef, path: str) -> Volume:
    """One key of a Secret as a file of its name; optional for the same reason, whether the Secret lacks or the key."""
    item = {"key": reference.key, "path": reference.key}
    return Volume(name, {"secret": {"secretName": reference.name, "optional": True, "items": [item]}}, path)
