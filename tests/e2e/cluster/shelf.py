"""The bundles that are published, in the S3 server of the tests, and what befalls them there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
from examples.demo.s3 import S3Server
from tests.control_plane.resources import Object
from tests.runtime.small_bundles import WEIGHTS, laboured, linear_samples, write_bundle

from tidegate.bundle.push import push
from tidegate.bundle.source import Access

BUCKET = "models"
PUBLISHED = {"v1": "v1", "v2": "v2", "v3": "v3", "1.4.0": "v1"}  # 1.4.0 is in the examples


@dataclass(frozen=True, slots=True)
class Shelf:
    """One repository in that server."""

    server: S3Server
    folder: Path  # of the bundles
    name: str

    @property
    def address(self) -> str:
        """Before the version."""
        return f"s3://{BUCKET}/{self.name}"

    def credentials(self, namespace: str, name: str) -> Object:
        """As a Secret, for pods."""
        return {
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
            "stringData": self.server.credentials(),
        }  # fmt: skip

    def another(self, name: str) -> Shelf:
        return replace(self, name=name).publish()

    def publish(self) -> Shelf:
        """All of them; again where they were deleted."""
        for name, version in PUBLISHED.items():
            push(self.folder / version, f"{self.address}/{name}", access=Access(self.server.credentials()))
        return self

    def publish_laboured(self, version: str, operators: int) -> str:
        """One that answers as v1 does, after so many operators (some 20 µs each for one row) that change nothing."""
        bundle = self.folder / version
        write_bundle(bundle, laboured(WEIGHTS, operators), linear_samples(), version=version)
        push(bundle, f"{self.address}/{version}", access=Access(self.server.credentials()))
        return version

    def delete(self, below: str = "") -> None:
        """All objects of the repository, or those of one version's name: its content then is there by digest alone."""
        client = self.client()
        prefix = f"{self.name}/{below}"
        found = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
        client.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": one["Key"]} for one in found]})
        assert not client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents")
        client.close()

    def client(self) -> Any:
        return boto3.client(
            "s3", endpoint_url=self.server.endpoint, aws_access_key_id=self.server.access_key,
            aws_secret_access_key=self.server.secret_key, region_name="us-east-1",
        )  # fmt: skip
