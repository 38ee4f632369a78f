"""What more than one folder of tests needs: a real S3 server, started once and only when a test asks for it.

Machines are shared: how long an example of hypothesis takes says nothing.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import boto3
import pytest
from examples.demo.s3 import S3Server, s3_server
from hypothesis import settings

BUCKET = "models"
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A SeaweedFS server on loopback with an empty bucket `models`."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        client = boto3.client(
            "s3",
            endpoint_url=server.endpoint,
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield server
    urllib.request.urlcleanup()
