"""From a path to what answers it: a dictionary of exact paths, made once when the model is known.

A protocol is a function that gives the routes it serves (`oip.py` is one); a path that no protocol knows gets a
sentence that says what is here instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from tidegate_runtime.errors import BadRequest, NotFound, RequestError

Handler = Callable[[Any, Any], None]  # (Connection, Request) of http.py
MOST_SHOWN = 128


@dataclass(frozen=True, slots=True)
class Route:
    """What answers one path, by method; `admits` may refuse a request before its body is read."""

    methods: Mapping[bytes, Handler]
    admits: Callable[[], RequestError | None] | None = None

    @classmethod
    def get(cls, handler: Handler) -> Route:
        return cls({b"GET": handler, b"HEAD": handler})


Routes = dict[bytes, Route]


@dataclass(frozen=True, slots=True)
class Identity:
    """Under which name and versions the model is served here."""

    name: str
    versions: tuple[str, ...]


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
    parts = path.strip("/").split("/")
    if parts[0] == "v1":
        return NotFound("this server speaks the Open Inference Protocol: use /v2/models/NAME/infer")
    if parts[:2] == ["v2", "repository"]:
        return BadRequest("models cannot be loaded or unloaded over the network: apply a new manifest instead")
    if parts[:2] == ["v2", "models"] and len(parts) > 2 and parts[2] != identity.name:  # noqa: PLR2004
        return NotFound(f"model {parts[2][:MOST_SHOWN]!r} is not served here: this server has {identity.name!r}")
    if len(parts) > 4 and parts[3] == "versions" and parts[4] not in identity.versions:  # noqa: PLR2004
        known = " and ".join(repr(version) for version in identity.versions)
        return NotFound(f"version {parts[4][:MOST_SHOWN]!r} is not served here: this server has {known}")
    return NotFound("no such path")
