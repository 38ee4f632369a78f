"""The S3 server of the tests and the demo never outlives whoever started it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
from examples.demo.s3 import s3_server

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
