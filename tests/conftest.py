"""What more than one folder of tests needs: a real S3 server, started once and only when a test asks for it.

Machines are shared: how long an example of hypothesis takes says nothing, and one that stands still for ten seconds
breaks a deadline of some story among the thousands that real programs tell here.  Such a test has a second try, of
which the last lines of a run tell; tests of pure code have none, and what looks for failures by chance neither: what it
finds once is found.  Many second tries are no chance: then the run fails.
"""

from __future__ import annotations

import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from examples.demo.s3 import S3Server, s3_server
from hypothesis import settings

BUCKET = "models"
HERE = Path(__file__).parent
BY_CHANCE = "test_fuzz_"
OVER_LOOPBACK = {"bench", "benchmarks", "client", "cluster", "internal", "runtime"}  # unit tests with servers in them
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background job: programs of tests would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if needs_more_than_its_process(item) and not item.path.name.startswith(BY_CHANCE):
            item.add_marker(pytest.mark.flaky(reruns=1))


def needs_more_than_its_process(item: pytest.Item) -> bool:
    kind, part, *_ = item.path.relative_to(HERE).parts
    if kind == "unit":
        return part in OVER_LOOPBACK or item.get_closest_marker("slow") is not None
    return kind != "e2e"


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
