"""From a path to what answers it: a dictionary of exact paths, made once when the model is known.

A protocol is a class that gives the routes it serves (`oip.py`, `predict.py`); a path that no protocol knows gets a
sentence that says what is here instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from tidegate_runtime.clients import METADATA
from tidegate_runtime.errors import BadRequest, NotFound, RequestError
from tidegate_runtime.interfaces import Source

Handler = Callable[[Any, Any], None]  # (Connection, Request) of http.py
Refusal = Callable[[Source], RequestError | None]
MOST_SHOWN = 128
SETTINGS = "settings cannot be changed over the network: flags of the server set them"
# What other servers of the protocol offer below /v2, or below a model, and this one for a reason does not.
NOT_OFFERED = {
    "repository": "models cannot be loaded or unloaded over the network: apply a new manifest instead",
    "systemsharedmemory": "shared memory is not offered: send tensors in the body, as binary data",
    "cudasharedmemory": "shared memory is not offered: send tensors in the body, as binary data",
    "logging": f"log {SETTINGS}",
    "trace": f"trace {SETTINGS}",
}


@dataclass(frozen=True, slots=True)
class Route:
    """What answers one path, by method; `refusal` says why a request is refused before its body is read, if it is."""

    methods: Mapping[bytes, Handler]
    refusal: Refusal | None = None
    scope: str = METADATA  # what a client's token must allow; OPEN: nothing is asked for

    def require(self, method: bytes) -> None:
        """Raise RequestError for a method that is not offered here."""
        if method not in self.methods:
            allowed = ", ".join(sorted(one.decode() for one in self.methods))
            raise RequestError(f"method {method.decode('latin-1')} is not offered here: use {allowed}", 405)

    @classmethod
    def get(cls, handler: Handler, scope: str = METADATA) -> Route:
        return cls({b"GET": handler, b"HEAD": handler}, scope=scope)


Routes = dict[bytes, Route]


@dataclass(frozen=True, slots=True)
class Identity:
    """Under which name and versions the model is served here."""

    name: str
    versions: tuple[str, ...]
    number: str  # the only version that TensorFlow Serving's API knows

    def require(self, name: str, version: str) -> None:
        """Raises NotFound for what is not served here; an empty version stands for any."""
        if name != self.name:
            raise _other_model(name, self.name)
        if version and version not in self.versions:
            raise _other_version(version, self.versions)


def find(routes: Routes, path: bytes, identity: Identity) -> Route:
    """The route of `path` (with its query); raises a RequestError that says what is here instead."""
    route = routes.get(path)
    if route is not None:
        return route
    plain = path.split(b"?", 1)[0]
    text = unquote(plain.decode("latin-1"))
    route = routes.get(text.rstrip("/").encode() or b"/")
    if route is not None:
        return route
    raise _unknown(text[:1024], identity)


def _unknown(path: str, identity: Identity) -> RequestError:
    v1 = path.startswith("/v1/")
    parts = (path.partition(":")[0] if v1 else path).strip("/").split("/")
    protocol, family, name, kind, version = (*parts, "", "", "", "", "")[:5]
    if protocol == "v2" and (sentence := NOT_OFFERED.get(family)):
        return BadRequest(sentence)
    if protocol not in ("v1", "v2") or family != "models" or not name:
        return NotFound("no such path")
    if name != identity.name:
        return _other_model(name, identity.name)
    versions = (identity.number,) if v1 else identity.versions
    if kind == "versions" and version not in versions:
        return _other_version(version, versions)
    if protocol == "v2" and (sentence := NOT_OFFERED.get(kind)):
        return BadRequest(sentence)
    if v1 and kind == "labels":
        return BadRequest("versions have no labels here: leave the label out, and the rollout chooses the version")
    return NotFound("no such path")


def _other_model(name: str, ours: str) -> NotFound:
    return NotFound(f"model {name[:MOST_SHOWN]!r} is not served here: this server has {ours!r}")


def _other_version(version: str, ours: tuple[str, ...]) -> NotFound:
    known = " and ".join(repr(version) for version in ours)
    return NotFound(f"version {version[:MOST_SHOWN]!r} is not served here: this server has {known}")
