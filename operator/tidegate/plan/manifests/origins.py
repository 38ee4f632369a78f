"""Where a program in a pod finds a bundle: its address there, the volumes and the credentials it needs for it.

`pvc://CLAIM/PATH` is a claim of the namespace, mounted read-only at /mnt/bundles/CLAIM, and a `file://` address for
the program.  A Secret is given twice: as the environment (AWS_* keys, also to libraries), and as files, because
`ca.crt` and `.dockerconfigjson` are no names of variables.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tidegate.api.bundle import BundleSource, SecretKeyRef
from tidegate.api.runtime import EnvVar
from tidegate.plan.manifests.volumes import Volume, claim, secret

CLAIM = "pvc://"
CLAIMS = "/mnt/bundles"
MOUNTED = f"file://{CLAIMS}/"
STORE = "/etc/tidegate/store"
STORE_VARIABLE = "TIDEGATE_STORE_SECRET"  # the folder with the Secret's keys as files


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens a bundle, by names: the Secret of its store ("": none), and the key that decrypts it."""

    store: str = ""
    decryption: SecretKeyRef | None = None


def credentials_of(source: BundleSource) -> Credentials:
    """Those that a spec names."""
    key = source.decryption.key_secret_ref if source.decryption else None
    return Credentials(source.secret_ref.name if source.secret_ref else "", key)


@dataclass(frozen=True, slots=True)
class Origin:
    """A bundle's address, and the name of the Secret with its store's credentials ("": none)."""

    uri: str
    secret: str = ""

    @property
    def address(self) -> str:
        """As a program in the pod is given it."""
        return MOUNTED + self.uri.removeprefix(CLAIM) if self.uri.startswith(CLAIM) else self.uri

    @property
    def volumes(self) -> tuple[Volume, ...]:
        found = []
        if self.address.startswith(MOUNTED):
            name = self.address.removeprefix(MOUNTED).partition("/")[0]
            found.append(claim("claim", name, f"{CLAIMS}/{name}", read_only=True))
        if self.secret:
            found.append(secret("store", self.secret, STORE))
        return tuple(found)

    def environment(self, variables: Iterable[EnvVar]) -> dict[str, Any]:
        """The container's variables: the spec's go before those of the Secret."""
        env = environment(variables)
        if not self.secret:
            return {"env": env}
        return {
            "env": [*env, {"name": STORE_VARIABLE, "value": STORE}],
            "envFrom": [{"secretRef": {"name": self.secret}}],
        }


def environment(variables: Iterable[EnvVar]) -> list[dict[str, Any]]:
    return [{"name": variable.name, "value": variable.value} for variable in variables]
