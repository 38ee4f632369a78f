"""The bundle that a short-lived command is about: its address, the proofs it must have, and the pod's credentials."""

from __future__ import annotations

import argparse
from pathlib import Path

from tidegate.bundle.paths import read_plain_file
from tidegate.bundle.source import Access, Source

MAX_KEY_BYTES = 64 * 2**10


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """URI, --digest, --public-key."""
    parser.add_argument("uri", metavar="URI", help="address of the bundle, such as s3://models/fraud/v1")
    parser.add_argument("--digest", metavar="sha256:…", help="the only bundle that is accepted")
    parser.add_argument("--public-key", metavar="FILE", type=Path, help="PEM key that must have signed it")


def source_of(arguments: argparse.Namespace) -> Source:
    """Credentials come from the pod's environment and service account, and go to their own hosts only."""
    key = arguments.public_key
    return Source(
        uri=arguments.uri,
        digest=arguments.digest,
        public_key=None if key is None else read_plain_file(key.resolve(), limit=MAX_KEY_BYTES),
        access=Access(ambient=True),
    )
