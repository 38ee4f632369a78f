"""Bundles on a real web server: certificate verified, no redirects, credentials to their own host only."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.bundle.web import Web

from tidegate.bundle.errors import Denied, DigestMismatch, NotFound
from tidegate.bundle.fetch import fetch, resolve
from tidegate.bundle.push import push
from tidegate.bundle.source import Access, Source
from tidegate.bundle.verify import verify_dir

BundleMaker = Callable[..., Path]
BIG = os.urandom(40 * 2**20)


def trusting(web: Web, **credentials: str) -> Access:
    return Access({"ca.crt": web.ca, **credentials}, allow_loopback=True)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_bundle_is_fetched_with_and_without_ranges(
    bundle: BundleMaker, web: Web, tmp_path: Path, ranges: bool
) -> None:
    web.ranges = ranges
    pushed = push(bundle(files={"weights/a.bin": BIG, "empty.txt": b""}), f"file://{web.folder}/fraud/1")

    fetched = fetch(Source(web.url("fraud/1"), access=trusting(web)), tmp_path / "here")

    assert verify_dir(fetched.path).digest == pushed.digest


def test_a_plain_directory_on_a_web_server_is_a_bundle(bundle: BundleMaker, web: Web, tmp_path: Path) -> None:
    shutil.copytree(bundle(files={"weights/a.bin": b"a"}), web.folder / "fraud")

    assert fetch(Source(web.url("fraud"), access=trusting(web)), tmp_path / "here")


def test_a_certificate_nobody_vouches_for_is_refused(web: Web) -> None:
    with pytest.raises(Denied, match="certificate is not trusted") as caught:
        resolve(Source(web.url("fraud/1"), access=Access(allow_loopback=True)))

    assert caught.value.reason == "CertificateInvalid"
    assert web.seen == []


def test_a_certificate_for_another_name_is_refused(web: Web) -> None:
    source = Source(f"https://127.0.0.1:{web.port}/fraud/1", access=trusting(web))

    with pytest.raises(Denied, match="certificate is not trusted"):
        resolve(source)


def test_a_ca_that_is_no_certificate_is_refused(web: Web) -> None:
    with pytest.raises(Denied, match="not a CA certificate"):
        resolve(Source(web.url("fraud/1"), access=Access({"ca.crt": "-----BEGIN NONSENSE"}, allow_loopback=True)))


def test_redirects_are_not_followed(web: Web) -> None:
    web.redirect = "https://169.254.169.254/latest/meta-data"

    with pytest.raises(Denied, match="302, a redirect"):
        resolve(Source(web.url("fraud/1"), access=trusting(web)))


def test_loopback_is_refused_unless_allowed(web: Web) -> None:
    with pytest.raises(Denied, match="loopback"):
        resolve(Source(web.url("fraud/1"), access=Access({"ca.crt": web.ca})))

    assert web.seen == []


def test_credentials_go_to_their_own_host_and_to_no_other(bundle: BundleMaker, web: Web) -> None:
    push(bundle(), f"file://{web.folder}/fraud/1")
    web.authorization = "Basic bWU6c2VjcmV0"  # me:secret
    ours = json.dumps({"auths": {f"localhost:{web.port}": {"username": "me", "password": "secret"}}})
    others = json.dumps({"auths": {"registry.example.com": {"auth": "bWU6c2VjcmV0"}}})

    assert resolve(Source(web.url("fraud/1"), access=trusting(web, **{".dockerconfigjson": ours})))
    with pytest.raises(Denied, match="answered 401"):
        resolve(Source(web.url("fraud/1"), access=trusting(web, **{".dockerconfigjson": others})))

    assert web.seen[-1][2] == ""


def test_a_docker_config_that_is_none_is_refused_without_showing_it(web: Web) -> None:
    with pytest.raises(Denied, match="cannot be read") as caught:
        resolve(Source(web.url("fraud/1"), access=trusting(web, **{".dockerconfigjson": "{secret"})))

    assert "secret" not in str(caught.value).replace("make the secret again", "")


def test_what_is_not_there_is_not_found(web: Web) -> None:
    with pytest.raises(NotFound):
        resolve(Source(web.url("fraud/absent"), access=trusting(web)))


@pytest.mark.parametrize("ranges", [True, False])
def test_another_size_than_listed_is_refused(bundle: BundleMaker, web: Web, tmp_path: Path, ranges: bool) -> None:
    web.ranges = ranges
    folder = bundle(files={"weights/a.bin": b"a" * 1000})
    shutil.copytree(folder, web.folder / "fraud")
    (web.folder / "fraud/weights/a.bin").write_bytes(b"a" * 1001)

    with pytest.raises(DigestMismatch, match="1001 bytes in the store, 1000 in the manifest"):
        fetch(Source(web.url("fraud"), access=trusting(web)), tmp_path / "here")
