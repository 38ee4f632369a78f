"""Registries as clouds run them: blobs in an object store, tags that are immutable, other CAs, long error pages."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from email.message import Message
from pathlib import Path

import pytest
from tests.bundle.faulty import answering, proxy_to
from tests.bundle.registry import Registry, docker_config
from tests.bundle.tokens import LOGIN
from tests.bundle.web import Web, web_server

from tidegate.bundle.errors import BundleError, Denied, NotFound
from tidegate.bundle.fetch import fetch, resolve
from tidegate.bundle.push import push
from tidegate.bundle.source import Access, Source
from tidegate.bundle.stores import open_shelf
from tidegate.bundle.stores.oci.uploading import Uploader
from tidegate.bundle.uri import parse_place

BundleMaker = Callable[..., Path]
HERE = Access(allow_loopback=True)


@pytest.fixture
def repository() -> str:
    return f"models/{uuid.uuid4().hex}"


@pytest.fixture
def folder(bundle: BundleMaker, repository: str) -> Path:
    """A bundle of this test's own: other tests damage what the registry holds."""
    return bundle(files={"notes.txt": repository.encode()})


@pytest.fixture
def elsewhere(web: Web, repository: str, tmp_path: Path) -> Iterator[Web]:
    """Where `web`, asked as a registry, redirects to for its blobs."""
    (tmp_path / "elsewhere").mkdir()
    with web_server(web.folder, tmp_path / "elsewhere") as found:
        web.redirect_below = f"/v2/{repository}/blobs"
        web.redirect = f"https://localhost:{found.port}{{path}}"
        yield found


def test_a_push_finds_the_blobs_that_a_registry_keeps_elsewhere_and_writes_nothing_again(
    folder: Path, registry: Registry, repository: str, web: Web, elsewhere: Web
) -> None:
    """The one that is asked takes no writes at all."""
    place = f"localhost:{web.port}"
    pushed = push(folder, registry.uri(repository, "1"), access=HERE)
    registry.copy(repository, web.folder)
    web.authorization = LOGIN
    config = {"ca.crt": web.ca + elsewhere.ca, ".dockerconfigjson": docker_config(place)}

    again = push(folder, f"oci://{place}/{repository}:1", access=Access(config, allow_loopback=True))

    assert (again.digest, again.already, again.files_sent) == (pushed.digest, True, 0)
    assert {(method, login) for method, _, login in elsewhere.seen} == {("HEAD", "")}


def test_a_tag_that_is_this_image_already_is_not_put_again(
    folder: Path, registry: Registry, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registries with immutable tags refuse it."""
    put, tags = Uploader.put_manifest, list[str]()

    def noted(uploader: Uploader, reference: str, raw: bytes, media_type: str) -> Message:
        tags.append(reference)
        return put(uploader, reference, raw, media_type)

    push(folder, registry.uri(repository, "1"), access=HERE)
    monkeypatch.setattr(Uploader, "put_manifest", noted)
    for version in ("1", "2"):
        push(folder, registry.uri(repository, version), access=HERE)

    assert tags == ["2"]


def test_the_ca_of_a_registry_counts_for_it_alone_and_the_systems_for_where_its_blobs_are(
    folder: Path,
    registry: Registry,
    repository: str,
    web: Web,
    elsewhere: Web,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pushed = push(folder, registry.uri(repository, "1"), access=HERE)
    registry.copy(repository, web.folder)
    (tmp_path / "system.pem").write_text(web.ca + elsewhere.ca)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    uri = f"oci://localhost:{web.port}/{repository}:1"

    fetched = fetch(Source(uri, access=Access({"ca.crt": web.ca}, allow_loopback=True)), tmp_path / "here")

    assert fetched.digest == pushed.digest
    with pytest.raises(Denied, match="the certificate is not trusted"):
        resolve(Source(uri, access=Access({"ca.crt": elsewhere.ca}, allow_loopback=True)))


def test_a_repository_that_is_listed_and_gone_is_left_out_unless_it_is_named(web: Web) -> None:
    documents = {
        "_catalog": {"repositories": ["models/digits", "models/gone"]},
        "models/digits/tags/list": {"tags": ["1"]},
    }
    for path, content in documents.items():
        target = web.folder / "v2" / f"{path}?n=1000"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content))
    place, access = f"oci://localhost:{web.port}", Access({"ca.crt": web.ca}, allow_loopback=True)

    with closing(open_shelf(parse_place(f"{place}/models"), access)) as shelf:
        assert list(shelf.versions()) == [f"{place}/models/digits:1"]
    with closing(open_shelf(parse_place(f"{place}/models/gone"), access)) as shelf, pytest.raises(NotFound):
        list(shelf.versions())


@pytest.mark.parametrize(
    ("status", "error"), [("401 Unauthorized", Denied), ("403 Forbidden", Denied), ("404 Not Found", NotFound)]
)
def test_an_error_page_says_what_its_status_says_however_long_it_is(
    registry: Registry, status: str, error: type[BundleError]
) -> None:
    with proxy_to(f"http://{registry.place}") as proxy:
        proxy.always = answering(status, b"x" * 100_000)
        with pytest.raises(error):
            resolve(Source(f"oci://127.0.0.1:{proxy.port}/models/digits:1", access=HERE))
