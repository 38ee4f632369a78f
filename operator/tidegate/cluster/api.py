"""What the reconciler may ask of an API server, and where each thing is found there.

A protocol, so that decisions about effects can be tested against a server made of dictionaries.  Objects are the JSON
of the API, as dictionaries: typed models would drop the fields of a newer server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote

from tidegate.plan.manifests.effects import Edit
from tidegate.plan.manifests.identity import Kind

Object = dict[str, Any]
Objects = list[Object]  # a name of its own: inside a class with a method `list`, `list[…]` would mean that
Key = tuple[str, str]  # namespace, name


class Api(Protocol):
    """Calls with a deadline each; they raise the errors of `tidegate.cluster.errors` and repeat nothing."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object as it is now, or None."""
        ...

    async def list(self, kind: Kind, namespace: str | None, selector: str) -> Objects:
        """All objects that carry the labels, of one namespace or of all (None)."""
        ...

    async def create(self, obj: Mapping[str, Any]) -> Object:
        """Make it; raises AlreadyExists whoever the other one belongs to."""
        ...

    async def apply(self, obj: Mapping[str, Any]) -> Object:
        """Server-side apply of exactly these fields, taking over conflicting ones.

        An object that is gone would be made anew, and a successor changed: with `metadata.uid` the server does neither
        (Conflict).
        """
        ...

    async def scale(self, kind: Kind, namespace: str, name: str, replicas: int) -> None:
        """Write the count through the scale subresource."""
        ...

    async def edit(self, effect: Edit) -> Object:
        """Change an object of somebody else; raises Conflict when it is not the version that was read any more."""
        ...

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete it and what it owns; fine when it is gone already, or another object has the name by now."""
        ...

    async def put_status(self, obj: Mapping[str, Any]) -> Object:
        """Write the status if nothing has changed since `metadata.resourceVersion`; raises Conflict otherwise."""
        ...


def path(kind: Kind, namespace: str | None, name: str = "", part: str = "") -> str:
    """The URL path of a collection, of an object, or of a subresource of it; no namespace: of all."""
    root = f"/apis/{kind.api_version}" if "/" in kind.api_version else f"/api/{kind.api_version}"
    pieces = [root, *(("namespaces", quote(namespace, safe="")) if namespace else ()), kind.plural]
    return "/".join([*pieces, *(quote(piece, safe="") for piece in (name, part) if piece)])


def named(kind: Kind, namespace: str | None, name: str = "") -> str:
    """How messages name an object: `deployments team-a/fraud`."""
    return f"{kind.plural} {namespace or '(all)'}/{name}".rstrip("/")


def metadata(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    found = obj.get("metadata")
    return found if isinstance(found, Mapping) else {}
