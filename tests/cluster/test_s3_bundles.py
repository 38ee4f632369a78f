"""Bundles in a real S3 server, with credentials and keys from Secrets that only the pods read."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest
from examples.demo.s3 import S3Server
from tests.cluster.operating import Operator, Site, serves
from tests.control_plane.plane import Plane
from tests.local.local_run import bundles

from tidegate.bundle.push import push
from tidegate.bundle.signature import generate_keys, sign
from tidegate.bundle.source import Access

pytestmark = pytest.mark.slow


@pytest.fixture
def repository(s3: S3Server, tmp_path: Path) -> tuple[str, Path]:
    """An address of this test's own with v1 and a signed v2 in it, and the folder with the keys."""
    where = f"s3://models/{uuid.uuid4().hex}"
    folder, access = bundles(tmp_path / "made"), Access(s3.credentials(), allow_loopback=True)
    generate_keys(tmp_path / "release.key", tmp_path / "release.pub")
    sign(folder / "v2", tmp_path / "release.key")
    for version in ("v1", "v2"):
        push(folder / version, f"{where}/{version}", access=access)
    return where, tmp_path


def secret(site: Site, name: str, content: Mapping[str, str]) -> None:
    site.plane.client.apply({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": site.namespace},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in content.items()},
    })  # fmt: skip


def test_a_bundle_is_fetched_with_the_credentials_of_the_users_secret(
    operator: Operator, control_plane: Plane, namespace: str, s3: S3Server, repository: tuple[str, Path]
) -> None:
    site = Site(control_plane, namespace)
    bundle = {"uri": f"{repository[0]}/v1", "secretRef": {"name": "store"}}
    secret(site, "store", {**s3.credentials(), "AWS_SECRET_ACCESS_KEY": "wrong"})

    site.apply(bundle=bundle)
    refused = site.until_reason("Stalled", "Denied")
    assert refused["status"]["rejected"][0]["class"] == "Environment"

    secret(site, "store", s3.credentials())
    site.command("retry", f"{refused['status']['resolution']['key']}@2026-01-01T00:00:00Z")
    found = site.until_serving("v1", 60)

    assert found["status"]["stable"]["uri"] == bundle["uri"]
    shown = str(found) + str(site.events()) + operator.log.read_text()
    assert s3.credentials()["AWS_SECRET_ACCESS_KEY"] not in shown


def test_only_what_the_release_key_signed_becomes_a_version(
    operator: Operator, control_plane: Plane, namespace: str, s3: S3Server, repository: tuple[str, Path]
) -> None:
    site = Site(control_plane, namespace)
    where, folder = repository
    secret(site, "store", s3.credentials())
    secret(site, "release", {"key.pub": (folder / "release.pub").read_text()})
    signed = {
        "secretRef": {"name": "store"},
        "signature": {"publicKeySecretRef": {"name": "release", "key": "key.pub"}},
    }

    site.apply(bundle={"uri": f"{where}/v2", **signed})
    site.until_serving("v2", 60)
    site.apply(bundle={"uri": f"{where}/v1", **signed})
    found = site.until_reason("Stalled", "SignatureMissing")

    assert serves(found, "v2")
    assert found["status"]["rejected"][0]["class"] == "Content"
