"""`tidegate.Client` and servers that ask who it is: by its certificate, by a token, over HTTP and gRPC.

It runs in a process of its own: its messages of gRPC and those of the tests' public client do not fit into one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.control_plane.pki import Authority
from tests.runtime import small_bundles as small
from tests.runtime.certificates import Files
from tests.runtime.conftest import DEADLINE, Running
from tests.runtime.known_clients import bearer, lines

from tidegate.client import Client
from tidegate.errors import Invalid

ASK = """
import json, sys
import numpy as np
from tidegate.client import Client, ClientError

url, pair, headers = json.loads(sys.argv[1])
with Client(url, client_cert=pair, headers=headers, retries=0) as client:
    try:
        print(client.infer("fraud", {"x": np.array([[1, 2, 3, 4]], np.float32)})["label"].tolist())
    except ClientError as error:
        print(type(error).__name__, error.status, error.do)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(files: Files, bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    clients = files.folder / "clients"
    clients.write_bytes(lines("ana"))
    return serve(bundles(small.linear()), *files.mutual, "--auth-file", str(clients), "--grpc-port", "0")


@pytest.fixture(params=["https", "grpcs"])
def url(request: pytest.FixtureRequest, server: Running) -> str:
    return f"{request.param}://localhost:{server.http if request.param == 'https' else server.grpc}"


def asked(files: Files, url: str, pair: tuple[Path, Path] | None, headers: dict[str, str] | None = None) -> str:
    """What a client with this certificate and these headers gets: the model's answer, or an error."""
    wish = json.dumps([url, pair and [str(path) for path in pair], headers or {}])
    environment = {**os.environ, "SSL_CERT_FILE": str(files.ca)}
    return subprocess.run(
        [sys.executable, "-c", ASK, wish],
        env=environment, capture_output=True, text=True, timeout=DEADLINE, check=True,
    ).stdout.strip()  # fmt: skip


def test_with_its_certificate_and_token_it_is_let_in(url: str, files: Files) -> None:
    pair = files.client("ana")
    assert asked(files, url, pair, bearer("ana")) == "[2]"
    assert asked(files, url, pair).startswith("RequestRefused 401")


def test_without_a_certificate_or_with_a_strangers_nothing_is_answered(url: str, files: Files) -> None:
    for pair in (None, files.client("mallory", Authority.new())):
        # The server's word may come after the request has broken off at its closed door.
        assert asked(files, url, pair).split()[0] in ("NotTrusted", "NotConnected", "Unanswered")


@pytest.mark.parametrize("content", [None, b"nonsense"])
def test_files_that_cannot_be_used_are_told_before_anything_is_sent(tmp_path: Path, content: bytes | None) -> None:
    pair = (tmp_path / "a.crt", tmp_path / "a.key")
    if content is not None:
        for path in pair:
            path.write_bytes(content)
    with pytest.raises(Invalid, match="No such file" if content is None else "not a PEM certificate"):
        Client("https://localhost", client_cert=pair)
