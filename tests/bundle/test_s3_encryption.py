"""Bundles that are encrypted at rest in S3: with the owner's own key in a real server, and by the key service's."""

from __future__ import annotations

import base64
import contextlib
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.httpsession import URLLib3Session

from tidegate.bundle.catalog import catalog
from tidegate.bundle.errors import Denied
from tidegate.bundle.fetch import fetch, resolve
from tidegate.bundle.push import push
from tidegate.bundle.source import Access, Source
from tidegate.bundle.verify import verify_dir
from tidegate.errors import Invalid

BundleMaker = Callable[..., Path]
KEY = base64.b64encode(os.urandom(32)).decode()


def with_key(access: Access, key: str) -> Access:
    return Access({**access.credentials, "S3_SSE_CUSTOMER_KEY": key}, allow_loopback=True)


def test_a_bundle_that_is_encrypted_with_an_own_key_goes_there_and_back(
    bundle: BundleMaker, access: Access, repository: str, objects: Any, tmp_path: Path
) -> None:
    encrypted = with_key(access, KEY)
    folder = bundle(files={"weights/a.bin": os.urandom(70_000_003)})  # large enough to go in parts
    pushed = push(folder, f"{repository}/1", access=encrypted)
    again = push(folder, f"{repository}/1", access=encrypted)

    assert fetch(Source(f"{repository}/1", access=encrypted), tmp_path / "here").digest == pushed.digest
    assert verify_dir(tmp_path / "here").digest == pushed.digest
    assert (again.already, again.files_sent) == (True, 0)
    assert [held.digest for held in catalog(repository, encrypted)] == [pushed.digest]
    name = repository.removeprefix("s3://models/")
    for row in objects.list_objects_v2(Bucket="models", Prefix=name)["Contents"]:
        with pytest.raises(objects.exceptions.ClientError):
            objects.get_object(Bucket="models", Key=row["Key"])


@pytest.mark.parametrize(
    ("key", "says"),
    [(None, "give the key in S3_SSE_CUSTOMER_KEY"), (base64.b64encode(b"x" * 32).decode(), "with another key")],
)
def test_without_its_key_or_with_another_it_is_one_sentence(
    bundle: BundleMaker, access: Access, repository: str, key: str | None, says: str
) -> None:
    push(bundle(), f"{repository}/1", access=with_key(access, KEY))

    with pytest.raises(Denied, match=says) as told:
        resolve(Source(f"{repository}/1", access=with_key(access, key) if key else access))

    assert KEY not in str(told.value)


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_push_without_the_key_of_what_is_there_is_one_sentence_as_well(
    bundle: BundleMaker, access: Access, repository: str, version: str
) -> None:
    folder = bundle()
    push(folder, f"{repository}/1", access=with_key(access, KEY))

    with pytest.raises(Denied, match="give the key in S3_SSE_CUSTOMER_KEY"):
        push(folder, f"{repository}/{version}", access=access)


def test_a_key_goes_to_the_endpoint_that_was_judged_and_to_none_of_a_profile(
    bundle: BundleMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[default]\nendpoint_url = http://s3.example.com\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # another test's has read its profiles already
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "eu-west-1"}
    asked: list[str] = []

    def send(_: URLLib3Session, request: AWSPreparedRequest) -> None:
        asked.append(str(urlsplit(request.url).netloc))
        raise CancelledError

    monkeypatch.setattr(URLLib3Session, "send", send)
    with pytest.raises(CancelledError):
        push(bundle(), "s3://models/digits/1", access=with_key(Access(keys), KEY))

    assert asked == ["models.s3.eu-west-1.amazonaws.com"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"S3_SSE_CUSTOMER_KEY": "c2hvcnQ="}, "no key of 32 bytes"),
        ({"S3_SSE_CUSTOMER_KEY": "!"}, "no key of 32 bytes"),
        ({"S3_SSE_CUSTOMER_KEY": KEY, "S3_SSE_KMS_KEY_ID": "alias/models"}, "two ways"),
        ({"S3_SSE_CUSTOMER_KEY": KEY, "AWS_ENDPOINT_URL": "http://s3.example.com"}, "not sent without TLS"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_before_anything_is_asked(given: Mapping[str, str], says: str) -> None:
    access = Access({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "eu-west-1", **given})

    with pytest.raises(Invalid, match=says) as told:
        resolve(Source("s3://models/digits/1", access=access))

    assert KEY not in str(told.value)


def test_only_writes_name_the_key_of_the_key_service(bundle: BundleMaker) -> None:
    with noting_server() as (endpoint, seen):
        access = Access(
            {
                "AWS_ENDPOINT_URL": endpoint,
                "AWS_ACCESS_KEY_ID": "a",
                "AWS_SECRET_ACCESS_KEY": "b",
                "AWS_REGION": "eu-west-1",
                "S3_SSE_KMS_KEY_ID": "alias/models",
            },
            allow_loopback=True,
        )
        push(bundle(), f"s3://models/{uuid.uuid4().hex}/1", access=access)

    writes = {(kind, key) for method, kind, key in seen if method == "PUT"}
    assert writes == {("aws:kms", "alias/models")}
    assert {(kind, key) for method, kind, key in seen if method != "PUT"} == {("", "")}


@contextlib.contextmanager
def noting_server() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """A store that has nothing and takes everything: its address, and (method, kind of encryption, key) of requests."""
    seen: list[tuple[str, str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _note(self, status: int) -> None:
            names = ("x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id")
            seen.append((self.command, *(self.headers.get(name, "") for name in names)))  # type: ignore[arg-type]
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.send_header("ETag", '"x"')
            self.end_headers()

        def do_GET(self) -> None:
            self._note(404)

        def do_HEAD(self) -> None:
            self._note(404)

        def do_PUT(self) -> None:
            self._note(200)

        def log_message(self, format: str, *args: Any) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
