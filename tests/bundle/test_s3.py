"""Bundles in a real S3 server: published once, found by version and by digest, and every trouble in one sentence."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import botocore.auth
import pytest
from tests.bundle.faulty import Proxy, answering, cut_after, hanging
from tests.bundle.tiny import at_once

from tidegate.bundle import transport
from tidegate.bundle.errors import BundleError, Conflict, Denied, DigestMismatch, NotFound, StoreTimeout, Unreachable
from tidegate.bundle.fetch import fetch, resolve
from tidegate.bundle.push import push
from tidegate.bundle.retry import Retries
from tidegate.bundle.source import Access, Limits, Source
from tidegate.bundle.stores.s3 import S3Writer
from tidegate.bundle.uri import parse_uri
from tidegate.bundle.verify import verify_dir

BundleMaker = Callable[..., Path]
BIG = os.urandom(12 * 2**20 + 5)
KEY = len("s3://models/")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once."""
    pauses = Retries.failure

    def failure(self: Retries, error: Unreachable, *, after: float = 0.0) -> None:
        self.sleep = lambda _: None
        pauses(self, error, after=after)

    monkeypatch.setattr(Retries, "failure", failure)


def test_a_bundle_goes_there_and_back(bundle: BundleMaker, access: Access, repository: str, tmp_path: Path) -> None:
    files = {"weights/a.bin": BIG, "weights/b.bin": b"b" * 70_000_000, "empty.txt": b""}
    pushed = push(bundle(files=files), f"{repository}/1", access=access)
    seen: list[int] = []

    fetched = fetch(
        Source(f"{repository}/1", access=access), tmp_path / "here", progress=lambda done, _: seen.append(done)
    )

    assert verify_dir(tmp_path / "here").digest == fetched.digest == pushed.digest
    assert fetched.bytes_read == pushed.bytes_sent == fetched.manifest.total_bytes
    assert seen == sorted(seen)


def test_a_directory_copied_by_any_tool_is_read_too(
    bundle: BundleMaker, access: Access, repository: str, objects: Any, tmp_path: Path
) -> None:
    folder = bundle(files={"weights/a.bin": b"a" * 100, "golden/0.npz": b"g"})
    for path in folder.rglob("*"):
        if path.is_file():
            objects.upload_file(str(path), "models", f"{repository[KEY:]}/1/{path.relative_to(folder)}")

    assert fetch(Source(f"{repository}/1", access=access), tmp_path / "here").digest == verify_dir(folder).digest


def test_a_replaced_version_is_still_fetched_by_its_digest(
    bundle: BundleMaker, access: Access, repository: str, tmp_path: Path
) -> None:
    old = push(bundle("old"), f"{repository}/1", access=access)
    folder = bundle("new", {"labels.txt": b"x"})

    with pytest.raises(Conflict, match="already"):
        push(folder, f"{repository}/1", access=access)
    new = push(folder, f"{repository}/1", access=access, replace=True)

    assert resolve(Source(f"{repository}/1", access=access)).digest == new.digest
    assert fetch(Source(f"{repository}/1@{old.digest}", access=access), tmp_path / "here").digest == old.digest


def test_of_two_pushes_at_once_one_wins_and_the_other_is_told(
    bundle: BundleMaker, access: Access, repository: str, tmp_path: Path
) -> None:
    folders = [bundle(str(number), {"weights/a.bin": bytes([number]) * 1000}) for number in range(3)]

    won, lost = at_once(lambda folder: push(folder, f"{repository}/1", access=access).digest, folders)

    assert (len(won), [type(error) for error in lost]) == (1, [Conflict, Conflict])
    assert fetch(Source(f"{repository}/1", access=access), tmp_path / "here").digest == won[0]


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_wrong_keys_are_denied_both_ways_and_never_shown(
    bundle: BundleMaker, access: Access, repository: str, name: str
) -> None:
    wrong = Access({**access.credentials, name: "wrong-and-secret"}, allow_loopback=True)

    with pytest.raises(Denied, match="keys are not accepted") as reading:
        resolve(Source(f"{repository}/1", access=wrong))
    with pytest.raises(Denied, match="keys are not accepted") as writing:
        push(bundle(), f"{repository}/1", access=wrong)

    assert "secret" not in str(reading.value).replace("its secret", "") + str(writing.value).replace("its secret", "")
    assert "wrong-and-secret" not in repr(wrong)


def test_no_keys_at_all_are_denied(access: Access, repository: str) -> None:
    nobody = Access({"AWS_ENDPOINT_URL": access.credentials["AWS_ENDPOINT_URL"]}, allow_loopback=True)

    with pytest.raises(Denied, match="check the bucket's policy"):
        resolve(Source(f"{repository}/1", access=nobody))


def test_credentials_of_the_environment_are_not_used_unless_asked_for(
    access: Access, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in access.credentials.items():
        monkeypatch.setenv(name, value)
    endpoint = {"AWS_ENDPOINT_URL": access.credentials["AWS_ENDPOINT_URL"]}

    with pytest.raises(Denied):
        resolve(Source(f"{repository}/1", access=Access(endpoint, allow_loopback=True)))
    with pytest.raises(NotFound):
        resolve(Source(f"{repository}/1", access=Access(allow_loopback=True, ambient=True)))


def test_a_missing_bucket_version_or_object_is_told_apart(
    bundle: BundleMaker, access: Access, repository: str, objects: Any, tmp_path: Path
) -> None:
    with pytest.raises(NotFound, match="no such bucket"):
        resolve(Source("s3://absent-bucket/x/1", access=access))
    with pytest.raises(NotFound, match="check the address and the version"):
        resolve(Source(f"{repository}/absent", access=access))
    folder = bundle(files={"weights/a.bin": b"a" * 100})
    push(folder, f"{repository}/1", access=access)
    (entry,) = (file for file in verify_dir(folder).manifest.files if file.path == "weights/a.bin")
    objects.delete_object(Bucket="models", Key=f"{repository[KEY:]}/blobs/sha256/{entry.sha256}")

    with pytest.raises(NotFound, match=r"weights/a\.bin"):
        fetch(Source(f"{repository}/1", access=access), tmp_path / "here")

    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("path", ["model.onnx", "weights/a.bin", "golden/0.npz"])
@pytest.mark.parametrize("spoil", ["flip", "shorten"])
def test_one_changed_byte_or_size_of_any_file_is_refused(
    bundle: BundleMaker, access: Access, repository: str, objects: Any, tmp_path: Path, *, path: str, spoil: str
) -> None:
    folder = bundle(files={"weights/a.bin": BIG, "golden/0.npz": b"golden"})
    push(folder, f"{repository}/1", access=access)
    (entry,) = (file for file in verify_dir(folder).manifest.files if file.path == path)
    content = bytearray((folder / path).read_bytes())
    content[len(content) // 2] ^= 1
    body = bytes(content) if spoil == "flip" else bytes(content[:-1])
    objects.put_object(Bucket="models", Key=f"{repository[KEY:]}/blobs/sha256/{entry.sha256}", Body=body)

    with pytest.raises(DigestMismatch, match=path):
        fetch(Source(f"{repository}/1", access=access), tmp_path / "here")

    assert not (tmp_path / "here").exists()


def test_a_manifest_changed_in_the_store_is_refused_by_digest(
    bundle: BundleMaker, access: Access, repository: str, objects: Any
) -> None:
    pushed = push(bundle(), f"{repository}/1", access=access)
    key = f"{repository[KEY:]}/manifests/sha256/{pushed.digest[7:]}.yaml"
    objects.put_object(Bucket="models", Key=key, Body=b"formatVersion: 1\n")

    with pytest.raises(DigestMismatch):
        resolve(Source(f"{repository}/1", pushed.digest, access=access))


def test_cut_connections_are_taken_up_where_they_broke(
    bundle: BundleMaker, access: Access, through: Access, proxy: Proxy, repository: str, tmp_path: Path
) -> None:
    push(bundle(files={"weights/a.bin": BIG}), f"{repository}/1", access=access)
    proxy.always = cut_after(5 * 2**20)

    fetched = fetch(Source(f"{repository}/1", access=through), tmp_path / "here")

    assert verify_dir(tmp_path / "here").digest == fetched.digest
    assert proxy.sent < len(BIG) * 1.2


def test_a_store_that_cuts_every_connection_at_once_is_unreachable(
    bundle: BundleMaker, access: Access, through: Access, proxy: Proxy, repository: str, tmp_path: Path
) -> None:
    push(bundle(files={"weights/a.bin": BIG}), f"{repository}/1", access=access)
    proxy.always = cut_after(10)

    with pytest.raises(Unreachable) as caught:
        fetch(Source(f"{repository}/1", access=through), tmp_path / "here")

    assert caught.value.exit_code == 5


@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Slow Down", "429 Too Many Requests"])
def test_passing_trouble_is_waited_out_and_lasting_trouble_is_told(
    bundle: BundleMaker, access: Access, through: Access, proxy: Proxy, repository: str, tmp_path: Path, *, status: str
) -> None:
    push(bundle(), f"{repository}/1", access=access)
    proxy.faults.extend([answering(status)] * 3)

    assert fetch(Source(f"{repository}/1", access=through), tmp_path / "here")

    proxy.always = answering(status)
    with pytest.raises(Unreachable, match=f"answered {status[:3]}"):
        resolve(Source(f"{repository}/1", access=through))


@pytest.mark.parametrize(
    ("status", "error"), [("405 Method Not Allowed", Denied), ("408 Request Timeout", Unreachable)]
)
def test_a_push_that_is_refused_is_denied_and_one_that_may_work_later_is_not(
    bundle: BundleMaker, through: Access, proxy: Proxy, repository: str, status: str, error: type[BundleError]
) -> None:
    proxy.always = answering(status)

    with pytest.raises(error, match=status[:3]):
        push(bundle(), f"{repository}/1", access=through)


def test_an_error_page_says_what_its_status_says_however_long_it_is(
    through: Access, proxy: Proxy, repository: str
) -> None:
    proxy.always = answering("403 Forbidden", b"x" * 100_000)

    with pytest.raises(Denied, match="answered 403"):
        resolve(Source(f"{repository}/1", access=through))


def test_an_upload_that_is_broken_off_is_not_begun_again(access: Access, repository: str, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(BIG)
    writer, told = S3Writer(parse_uri(f"{repository}/1"), access), list[int]()

    def sent(count: int) -> None:
        told.append(count)
        if len(told) == 1:  # once: boto3 tells the rest of a part while it closes the file, and would leave it open
            raise CancelledError

    with pytest.raises(CancelledError):
        writer.write(f"{repository[KEY:]}/a.bin", tmp_path / "a.bin", sent)

    assert sum(told) < len(BIG) / 2
    assert writer.size(f"{repository[KEY:]}/a.bin") is None
    writer.close()


def test_a_store_that_never_answers_ends_in_time(
    bundle: BundleMaker, access: Access, through: Access, proxy: Proxy, repository: str, tmp_path: Path
) -> None:
    push(bundle(files={"weights/a.bin": BIG}), f"{repository}/1", access=access)
    proxy.gate_at = 2 * 2**20

    with pytest.raises(StoreTimeout, match=r"nothing came for 0\.5 s") as caught:
        fetch(Source(f"{repository}/1", access=through), tmp_path / "here", limits=Limits(stall=0.5))

    assert caught.value.exit_code == 5


def test_a_store_that_takes_requests_and_says_nothing_is_unreachable(
    through: Access, proxy: Proxy, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "TIMEOUT", 0.1)
    proxy.always = hanging

    with pytest.raises(Unreachable, match="no answer in time"):
        resolve(Source(f"{repository}/1", access=through))


def test_a_redirect_is_not_followed(through: Access, proxy: Proxy, repository: str) -> None:
    proxy.always = answering("307 Temporary Redirect", Location="http://169.254.169.254/latest/meta-data")

    with pytest.raises(Denied, match="none is followed"):
        resolve(Source(f"{repository}/1", access=through))


def test_a_clock_that_is_off_is_named(
    bundle: BundleMaker, access: Access, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(bundle(), f"{repository}/1", access=access)
    late = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) - datetime.timedelta(hours=2)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda **_: late)

    with pytest.raises(Denied) as caught:
        resolve(Source(f"{repository}/1", access=access))

    assert caught.value.reason == "ClockSkewed"


def test_a_loopback_store_is_refused_where_it_is_not_allowed(access: Access, repository: str) -> None:
    with pytest.raises(Denied, match="loopback"):
        resolve(Source(f"{repository}/1", access=Access(access.credentials)))


def test_nobody_listening_is_unreachable(access: Access, repository: str, bundle: BundleMaker) -> None:
    nobody = Access({**access.credentials, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, allow_loopback=True)

    with pytest.raises(Unreachable):
        resolve(Source(f"{repository}/1", access=nobody))
