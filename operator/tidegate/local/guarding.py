"""Who may ask the servers, and the certificate they show: `runtime.auth` and `runtime.tls` as flags of a server here.

The servers read the folders of `--secret` themselves, and again whenever they change, as they do with a mounted Secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tidegate.api.runtime import Runtime
from tidegate.local.secrets import SecretMissing


def guarding_flags(runtime: Runtime, given: Mapping[str, Path]) -> dict[str, Path]:
    """The flags; raises SecretMissing for a secret that no --secret gave as a folder.

    Certificates of clients are not asked for: the servers' only client is the proxy in front.
    """
    flags = {}
    if runtime.auth:
        flags["auth-file"] = _folder(given, runtime.auth.secret_ref.name) / "clients"
    if runtime.tls:
        folder = _folder(given, runtime.tls.secret_ref.name)
        flags |= {"tls-cert": folder / "tls.crt", "tls-key": folder / "tls.key"}
    return flags


def _folder(given: Mapping[str, Path], name: str) -> Path:
    found = given.get(name)
    if found is None:
        raise SecretMissing(f"the manifest names secret {name}", do=f"give it with --secret {name}=DIR")
    if not found.is_dir():
        raise SecretMissing(f"secret {name} is not a folder with a file per key", do=f"use --secret {name}=DIR")
    return found
