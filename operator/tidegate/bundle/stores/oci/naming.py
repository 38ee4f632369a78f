"""What things are called in a registry: paths of its protocol, and the tags of ours."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.bundle.digest import hex_of
from tidegate.bundle.uri import BundleUri


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one repository; `tag` may be empty where the address pins a digest."""

    repository: str
    tag: str

    def manifest(self, reference: str) -> str:
        return f"/v2/{self.repository}/manifests/{reference}"

    def blob(self, digest: str) -> str:
        return f"/v2/{self.repository}/blobs/{digest}"

    def uploads(self, query: str = "") -> str:
        return f"/v2/{self.repository}/blobs/uploads/{query}"

    def referrers(self, digest: str) -> str:
        return f"/v2/{self.repository}/referrers/{digest}"

    def scope(self, *actions: str) -> str:
        return f"repository:{self.repository}:{','.join(actions)}"


def names_of(uri: BundleUri) -> Names:
    repository, _, tag = uri.path.partition(":")
    return Names(repository, tag)


def bundle_tag(digest: str) -> str:
    """The tag that always is one bundle: whoever knows its digest finds it when the version has moved on."""
    return f"bundle-{hex_of(digest)}"


def referrers_tag(digest: str) -> str:
    """Where registries without the referrers API keep the list of what refers to a manifest."""
    return f"sha256-{hex_of(digest)}"
