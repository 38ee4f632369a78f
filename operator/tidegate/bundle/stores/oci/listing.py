"""What a registry holds: the tags of a repository and of those below it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tidegate.bundle.errors import Denied, NotFound, TooLarge
from tidegate.bundle.source import Access
from tidegate.bundle.stores import Listed
from tidegate.bundle.stores.oci.image import MAX_DOCUMENT, parse
from tidegate.bundle.stores.oci.naming import Names
from tidegate.bundle.stores.oci.registry import Registry
from tidegate.bundle.transport import Request
from tidegate.bundle.uri import BundleUri
from tidegate.errors import Invalid

NEXT = re.compile(r"<([^>]+)>")
OURS = re.compile(r"(bundle|sha256)-[0-9a-f]{64}")  # by digest: the same images once more, and lists of signatures
PAGE = 1000
MOST_PAGES = 1000
CATALOG = "registry:catalog:*"


class OciShelf:
    """Repositories of one registry."""

    def __init__(self, place: BundleUri, access: Access) -> None:
        self._place = place
        self._access = access
        self._registry = Registry(place, access, [CATALOG])

    def versions(self) -> Iterator[str]:
        for repository in self._repositories():
            for tag in self._readable_tags(repository):
                if not OURS.fullmatch(tag):
                    yield f"oci://{self._place.place}/{repository}:{tag}"

    def sweep(self, before: float, *, dry_run: bool) -> list[Listed]:  # noqa: ARG002  (as every shelf)
        raise Invalid(
            "a registry removes by itself what no image names",
            where=str(self._place),
            do="run its own garbage collection",
        )

    def close(self) -> None:
        self._registry.close()

    def _repositories(self) -> list[str]:
        """The one that is named and all below it; where the registry lists none, the named one alone."""
        path = self._place.path
        try:
            found = list(self._pages(self._registry, f"/v2/_catalog?n={PAGE}", "repositories"))
        except (Denied, NotFound):
            if not path:
                raise
            return [path]
        return [name for name in found if not path or name == path or name.startswith(f"{path}/")]

    def _readable_tags(self, repository: str) -> Iterator[str]:
        """The tags; none where the registry lists a repository that is empty, or that we may not read."""
        try:
            yield from self._tags(repository)
        except (Denied, NotFound):
            if repository == self._place.path:  # asked for by its name
                raise

    def _tags(self, repository: str) -> Iterator[str]:
        registry = Registry(self._place, self._access, [Names(repository, "").scope("pull")])
        try:
            yield from self._pages(registry, f"/v2/{repository}/tags/list?n={PAGE}", "tags")
        finally:
            registry.close()

    def _pages(self, registry: Registry, path: str, key: str) -> Iterator[str]:
        where = str(self._place)
        for _ in range(MOST_PAGES):
            response = registry.send(Request("GET", path, {}), where)
            try:
                document: dict[str, Any] = parse(response.read(MAX_DOCUMENT), where)
            finally:
                response.close()
            yield from (str(name) for name in document.get(key) or ())
            link = NEXT.match(response.headers.get("Link", ""))
            if not link:
                return
            path = registry.target(link[1], where)
        raise TooLarge(f"more than {MOST_PAGES} pages of {key}", where=where, do="name a part of the registry")
