"""Bundle addresses: `scheme://place/REPOSITORY/VERSION`, optionally with `@sha256:…` to pin the bundle.

In a registry they are written as everywhere: `oci://HOST/REPOSITORY:TAG`, `@sha256:…` or both, and that digest is the
one of the OCI manifest, not of the bundle.

Read as text before anything is done with it; what could mean two things to two readers is refused: credentials,
queries, fragments, escapes, dots that lead elsewhere.  A plain directory path is a `file` address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tidegate.bundle.digest import hex_of
from tidegate.errors import Invalid

MAX_URI = 2048
SCHEME = re.compile(r"([a-z][a-z0-9+]*)://(.*)", re.DOTALL)
HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)(?::([1-9][0-9]{0,4}))?")
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
SEGMENT = re.compile(r"[A-Za-z0-9_~+-][A-Za-z0-9._~+-]{0,254}")
REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
MAX_REPOSITORY = 255
MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class BundleUri:
    """`place` is the bucket or the host and port; `path` the names after it, without a leading slash (file: with).

    `digest` is the bundle's; `image` that of the OCI manifest an oci:// address pins.
    """

    scheme: str
    place: str
    path: str
    digest: str | None = None
    image: str | None = None

    @property
    def repository(self) -> str:
        """The path without its last name, the version."""
        return self.path.rpartition("/")[0]

    @property
    def version(self) -> str:
        return self.path.rpartition("/")[2]

    def __str__(self) -> str:
        digest = self.image if self.scheme == "oci" else self.digest
        pin = f"@{digest}" if digest else ""
        return f"{self.scheme}://{self.place}{'' if self.scheme == 'file' else '/'}{self.path}{pin}"


def parse_uri(text: str) -> BundleUri:
    """The address in `text`; Invalid says what is wrong with it."""
    if len(text) > MAX_URI or any(ord(char) < ord(" ") or char == "\x7f" for char in text):
        raise Invalid(f"the bundle address is longer than {MAX_URI} characters or holds control characters")
    rest, digest = _without_pin(text)
    match = SCHEME.fullmatch(rest)
    if match is None:
        return BundleUri("file", "", str(Path(rest).absolute()), digest)
    scheme, after = match.groups()
    if scheme == "file":
        return BundleUri("file", "", _file_path(after, text), digest)
    place, _, path = after.partition("/")
    _check_place(scheme, place)
    if scheme == "oci":
        _check_reference(path, digest)
        return BundleUri(scheme, place, path, image=digest)
    _check_path(path.rstrip("/"))
    return BundleUri(scheme, place, path.rstrip("/"), digest)


def parse_place(text: str) -> BundleUri:
    """The address of a store or a part of one, without a version: `s3://BUCKET`, `oci://HOST/REPOSITORY`, a path."""
    if len(text) > MAX_URI or "@sha256:" in text or not text.isprintable():
        raise _invalid(f"'{text[:120]}' is no address of a store", "write it without a digest: s3://BUCKET/REPOSITORY")
    match = SCHEME.fullmatch(text)
    if match is None or match[1] == "file":
        return parse_uri(text)
    scheme, after = match.groups()
    place, _, path = after.partition("/")
    path = path.rstrip("/")
    _check_place(scheme, place)
    if path:
        _check_path(path)
    return BundleUri(scheme, place, path)


def _without_pin(text: str) -> tuple[str, str | None]:
    rest, mark, pin = text.rpartition("@sha256:")
    if not mark:
        return text, None
    hex_of("sha256:" + pin)
    return rest, "sha256:" + pin


def _file_path(after: str, text: str) -> str:
    path = after.removeprefix("localhost")
    if not path.startswith("/"):
        raise _invalid(f"'{text[:120]}' names a host", "write file:///absolute/path")
    return str(Path(path))


def _check_place(scheme: str, place: str) -> None:
    if "@" in place:
        raise _invalid("credentials in a bundle address", "put them into the secret, never into the address")
    if scheme == "s3" and not BUCKET.fullmatch(place):
        raise _invalid(f"'{place[:80]}' is no bucket name", "write s3://BUCKET/PREFIX/VERSION")
    host_and_port(place, "bundle address")


def host_and_port(place: str, where: str) -> tuple[str, int]:
    """The two parts of a host as it is written; port 0: none is named."""
    match = HOST.fullmatch(place)
    if match is None or int(match[1] or 1) > MAX_PORT:
        raise Invalid(
            f"'{place[:80]}' is no host", where=where, do="write it in ASCII, with a port of 1 to 65535 if any"
        )
    return place.partition(":")[0], int(match[1] or 0)


def _check_path(path: str) -> None:
    if not path or not all(SEGMENT.fullmatch(name) for name in path.split("/")):
        raise _invalid(
            f"'{path[:120]}' is no path of plain names",
            "use letters, digits and . _ ~ + - between slashes: no query, no fragment, no %, no '..'",
        )


def _check_reference(path: str, digest: str | None) -> None:
    repository, colon, tag = path.partition(":")
    if not REPOSITORY.fullmatch(repository) or len(repository) > MAX_REPOSITORY:
        raise _invalid(f"'{repository[:120]}' is no repository of a registry", "write oci://HOST/REPOSITORY:TAG")
    if colon and not TAG.fullmatch(tag):
        raise _invalid(f"'{tag[:140]}' is no tag", "use letters, digits and _ . -, at most 128")
    if not colon and digest is None:
        raise _invalid("names no version", "write oci://HOST/REPOSITORY:TAG, or @sha256:… of its manifest")


def _invalid(what: str, do: str) -> Invalid:
    return Invalid(what, where="bundle address", do=do)
