"""Bundles to send, a repository of each test's own in the real S3 server, and the command in this process."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from examples.demo.s3 import S3Server
from tests.bundle.faulty import Proxy, proxy_to
from tests.bundle.registry import HTPASSWD, Registry, registry_server
from tests.bundle.tiny import write_bundle
from tests.bundle.web import Web, web_server

from tidegate.bundle.source import Access
from tidegate.cli import main as entry


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[..., Path]:
    """Makes bundle directories: bundle("name", {"path": bytes})."""

    def make(name: str = "bundle", files: Mapping[str, bytes] | None = None) -> Path:
        return write_bundle(tmp_path / name, files)

    return make


@pytest.fixture
def access(s3: S3Server) -> Access:
    return Access(s3.credentials(), allow_loopback=True)


@pytest.fixture
def repository() -> str:
    """A repository that no other test uses."""
    return f"s3://models/{uuid.uuid4().hex}"


@pytest.fixture
def objects(s3: S3Server) -> Iterator[Any]:
    """A client to spoil the bucket with."""
    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        region_name="us-east-1",
    )
    yield client
    client.close()


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[Proxy]:
    with proxy_to(s3.endpoint) as found:
        yield found


@pytest.fixture
def through(access: Access, proxy: Proxy) -> Access:
    """Access by way of the proxy."""
    return Access({**access.credentials, "AWS_ENDPOINT_URL": proxy.endpoint}, allow_loopback=True)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    (tmp_path / "web").mkdir()
    (tmp_path / "certificates").mkdir()
    with web_server(tmp_path / "web", tmp_path / "certificates") as found:
        yield found


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that anybody may read and write."""
    with registry_server(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that wants a login."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "models", "path": str(folder / "htpasswd")}}
    with registry_server(folder, auth) as found:
        yield found


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def tidegate(s3: S3Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run the command in this process, with the environment of somebody who uses that S3 server."""
    for name, value in s3.credentials().items():
        monkeypatch.setenv(name, value)

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["tidegate", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            entry.main()
        captured = capfd.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    return run
