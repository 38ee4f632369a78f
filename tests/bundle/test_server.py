"""The S3 server of the tests and the demo never outlives whoever started it, and is the same after an outage."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from examples.demo.s3 import S3Server, s3_server

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
from examples.demo.s3 import S3Server, s3_server

with s3_server(Path(sys.argv[1])) as server:
    print(server.endpoint, flush=True)
    sys.stdin.read()
"""


def listens(endpoint: str) -> bool:
    parts = urlsplit(endpoint)
    with socket.socket() as probe:
        return probe.connect_ex((str(parts.hostname), int(parts.port or 0))) == 0


def test_a_starter_that_is_killed_takes_the_server_with_it(tmp_path: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert starter.stdout
    endpoint = starter.stdout.readline().decode().strip()
    assert listens(endpoint)

    starter.kill()
    starter.communicate(timeout=10)

    deadline = time.monotonic() + 10
    while listens(endpoint):
        assert time.monotonic() < deadline, "the server is still there"


def test_a_server_that_is_stopped_and_started_again_has_what_it_had(tmp_path: Path) -> None:
    with s3_server(tmp_path) as server, closing(client_of(server)) as client:
        client.create_bucket(Bucket="models")
        client.put_object(Bucket="models", Key="a", Body=b"kept")

        server.stop()
        assert not listens(server.endpoint)
        server.start()

        assert client.get_object(Bucket="models", Key="a")["Body"].read() == b"kept"


def client_of(server: S3Server) -> Any:
    return boto3.client(
        "s3", endpoint_url=server.endpoint, aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key, region_name="us-east-1",
    )  # fmt: skip
