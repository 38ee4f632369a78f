"""The bundle that a short-lived command is about: its address, the proofs it must have, and what opens it.

The keys of a Secret come as environment variables, or as files of a directory where it is mounted (`--store-secret`):
only as files do `ca.crt` and `.dockerconfigjson` arrive in every cluster, as not all allow variables of such names.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from tidegate.bundle.errors import Denied
from tidegate.bundle.manifest import Manifest
from tidegate.bundle.source import Access, Source
from tidegate.errors import Invalid, Temporary

MAX_KEY_BYTES = 64 * 2**10
NOT_AMBIENT = ("AWS_CA_BUNDLE", "ca.crt", ".dockerconfigjson")  # what ambient access does not look for by itself
MOUNTED = (
    *NOT_AMBIENT, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION",
    "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "S3_SSE_CUSTOMER_KEY",
)  # fmt: skip


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """URI, --digest, --public-key, --store-secret, --identity."""
    parser.add_argument("uri", metavar="URI", help="address of the bundle, such as s3://models/fraud/v1")
    parser.add_argument("--digest", metavar="sha256:…", help="the only bundle that is accepted")
    parser.add_argument("--public-key", metavar="FILE", type=Path, help="PEM key that must have signed it")
    parser.add_argument(
        "--store-secret",
        metavar="DIR",
        type=Path,
        default=os.environ.get("TIDEGATE_STORE_SECRET"),
        help="mounted Secret, a file per key (AWS_…, ca.crt, .dockerconfigjson), for what the environment lacks",
    )
    parser.add_argument(
        "--identity",
        metavar="FILE",
        type=Path,
        default=os.environ.get("TIDEGATE_IDENTITY"),
        help="age keys, one of which decrypts the bundle; of no use for one that is not encrypted",
    )


def source_of(arguments: argparse.Namespace) -> Source:
    """Credentials come from the pod's environment and service account, and go to their own hosts only."""
    key = arguments.public_key
    return Source(
        uri=arguments.uri,
        digest=arguments.digest,
        public_key=None if key is None else read_public_key(key),
        access=Access(credentials_of(arguments.store_secret), ambient=True),
    )


def credentials_of(folder: Path | str | None) -> dict[str, str]:
    """What ambient access would not find: the environment first, for a spec may set there what its Secret has too."""
    mounted = {} if folder is None else read_secret(Path(folder))
    lacking = {name: text for name, text in mounted.items() if not os.environ.get(name)}
    return lacking | {name: os.environ[name] for name in NOT_AMBIENT if os.environ.get(name)}


def read_public_key(file: Path) -> bytes:
    """The key that must have signed; without it nothing can be said about the bundle."""
    return _required(file)


def keys_for(manifest: Manifest, arguments: argparse.Namespace) -> list[Any]:
    """The age keys that open an encrypted bundle, tried on its manifest alone; none for one that is not encrypted.

    Messages name the file, never what stands in it.
    """
    if manifest.encryption is None:
        return []
    from tidegate.bundle.encryption import open_key, parse_identities

    file = arguments.identity
    if file is None:
        do = "name its age key: --identity FILE, or bundle.decryption of a manifest"
        raise Invalid("the bundle is encrypted", where=arguments.uri, do=do, reason="BundleEncrypted")
    keys = parse_identities(_required(file), str(file))
    open_key(manifest.encryption, keys, str(file))
    return keys


def _required(file: Path) -> bytes:
    content = read_key(file)
    if content is None:
        raise Temporary("no such key", where=str(file), do="add it to the Secret that is named", reason="SecretMissing")
    return content


def read_secret(folder: Path) -> dict[str, str]:
    """The keys of a mounted Secret that stores know; other keys are somebody else's, and none need be there."""
    found = {name: read_key(folder / name) or b"" for name in MOUNTED}
    return {name: text for name, value in found.items() if (text := value.decode("utf-8", "replace").rstrip("\r\n"))}


def read_key(file: Path) -> bytes | None:
    """One key of a Secret; None without it.  Messages name the file, never the value."""
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_KEY_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Denied(f"cannot be read: {error.strerror}", where=str(file), do="mount it readable") from None
    if len(content) > MAX_KEY_BYTES:
        raise Denied(f"more than {MAX_KEY_BYTES} bytes", where=str(file), do="correct the Secret")
    return content
