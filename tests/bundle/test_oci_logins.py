"""Who may read and write in a registry: logins and tokens, and to whom they are given."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.bundle.registry import PASSWORD, Registry, docker_config, registry_server
from tests.bundle.tokens import LOGIN, TokenServer, token_server
from tests.bundle.web import Web, web_server

from tidegate.bundle.catalog import catalog
from tidegate.bundle.errors import Denied
from tidegate.bundle.fetch import fetch, resolve
from tidegate.bundle.push import push
from tidegate.bundle.signature import generate_keys, sign
from tidegate.bundle.source import Access, Source
from tidegate.bundle.stores.docker_config import login_for
from tidegate.bundle.stores.oci import registry as protocol
from tidegate.bundle.verify import verify_dir

BundleMaker = Callable[..., Path]
SECRET = ".dockerconfigjson"


@pytest.fixture
def repository() -> str:
    return f"models/{uuid.uuid4().hex}"


def access_with(config: str) -> Access:
    return Access({SECRET: config}, allow_loopback=True)


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[TokenServer]:
    with token_server(tmp_path) as found:
        yield found


@pytest.fixture
def by_token(tokens: TokenServer, tmp_path: Path) -> Iterator[Registry]:
    """A registry that takes nothing but tokens."""
    with registry_server(tmp_path / "registry", tokens.auth()) as found:
        yield found


def test_the_login_of_a_secret_is_enough_to_publish_and_fetch(
    bundle: BundleMaker, guarded: Registry, repository: str, tmp_path: Path
) -> None:
    uri, access = guarded.uri(repository, "1"), access_with(docker_config(guarded.place))
    pushed = push(bundle(), uri, access=access)

    assert fetch(Source(uri, access=access), tmp_path / "here").digest == pushed.digest


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("wrong password", "the login is not accepted"),
        ("other host", "wants a login, and none is given for this host"),
        ("none", "wants a login, and none is given for this host"),
    ],
)
def test_a_wrong_or_missing_login_is_one_sentence_that_shows_no_secret(
    bundle: BundleMaker, guarded: Registry, repository: str, config: str, says: str
) -> None:
    access = {
        "wrong password": access_with(docker_config(guarded.place, "not-" + PASSWORD)),
        "other host": access_with(docker_config("registry.example.com")),
        "none": Access(allow_loopback=True),
    }[config]
    uri = guarded.uri(repository, "1")

    with pytest.raises(Denied, match=says) as reading:
        resolve(Source(uri, access=access))
    with pytest.raises(Denied, match=says) as writing:
        push(bundle(), uri, access=access)

    assert "docker login" in str(reading.value)
    assert PASSWORD not in f"{reading.value}{writing.value}"


def test_a_secret_that_is_no_docker_config_is_told(guarded: Registry) -> None:
    with pytest.raises(Denied, match="docker config JSON cannot be read"):
        resolve(Source(guarded.uri("a/b", "1"), access=access_with("{")))


def test_a_login_becomes_a_token_for_exactly_what_is_done(
    bundle: BundleMaker, by_token: Registry, tokens: TokenServer, repository: str, tmp_path: Path
) -> None:
    uri, access = by_token.uri(repository, "1"), access_with(docker_config(by_token.place))
    push(bundle("parent", {"weights/a.bin": b"w" * 1000}), uri, access=access)
    other = by_token.uri(f"{repository}-derived", "1")
    mounted = push(
        bundle("derived", {"weights/a.bin": b"w" * 1000, "b.txt": b"b"}), other, access=access, mount_from=repository
    )
    fetch(Source(uri, access=access), tmp_path / "here")

    assert tokens.asked == [
        (LOGIN, [f"repository:{repository}:pull,push"]),
        (LOGIN, [f"repository:{repository}-derived:pull,push", f"repository:{repository}:pull"]),
        (LOGIN, [f"repository:{repository}:pull"]),
    ]
    assert mounted.bytes_sent == 1


def test_whoever_has_no_login_reads_what_is_public_and_writes_nothing(
    bundle: BundleMaker, by_token: Registry, tokens: TokenServer, repository: str
) -> None:
    uri, nobody = by_token.uri(repository, "1"), Access(allow_loopback=True)
    pushed = push(bundle(), uri, access=access_with(docker_config(by_token.place)))
    tokens.pulls_for_all = True

    assert resolve(Source(uri, access=nobody)).digest == pushed.digest
    with pytest.raises(Denied, match="wants a login"):
        push(bundle("other", {"b.txt": b"b"}), uri, access=nobody, replace=True)


def test_a_token_server_that_refuses_the_login_is_told(
    by_token: Registry, tokens: TokenServer, repository: str
) -> None:
    access = access_with(docker_config(by_token.place, "wrong"))

    with pytest.raises(Denied, match="the login is not accepted"):
        resolve(Source(by_token.uri(repository, "1"), access=access))

    assert len(tokens.asked) == 1


def test_what_a_registry_lists_and_does_not_let_read_is_left_out_unless_it_is_named(
    bundle: BundleMaker, by_token: Registry, tokens: TokenServer
) -> None:
    folder, access = bundle(), access_with(docker_config(by_token.place))
    for name in ("good", "hidden"):
        push(folder, by_token.uri(f"models/{name}", "1"), access=access)
    tokens.hidden = "models/hidden"
    place = f"oci://{by_token.place}/models"

    assert [held.uri for held in catalog(place, access)] == [by_token.uri("models/good", "1")]
    with pytest.raises(Denied):
        catalog(f"{place}/hidden", access)


def test_a_login_never_follows_a_layer_to_another_host(
    bundle: BundleMaker, registry: Registry, repository: str, web: Web, tmp_path: Path
) -> None:
    """A registry over TLS that keeps its blobs elsewhere, as most of those that clouds run do."""
    (tmp_path / "elsewhere").mkdir()
    pushed = push(bundle(), registry.uri(repository, "1"), access=Access(allow_loopback=True))
    registry.copy(repository, web.folder)
    with web_server(web.folder, tmp_path / "elsewhere") as elsewhere:
        place = f"localhost:{web.port}"
        web.authorization, web.redirect_below = LOGIN, f"/v2/{repository}/blobs"
        web.redirect = f"https://localhost:{elsewhere.port}{{path}}"
        access = Access({"ca.crt": web.ca + elsewhere.ca, SECRET: docker_config(place)}, allow_loopback=True)

        fetched = fetch(Source(f"oci://{place}/{repository}:1", access=access), tmp_path / "here")

    assert fetched.digest == pushed.digest
    assert {login for _, _, login in web.seen} == {"", LOGIN}  # asked once without, then with it
    assert {login for _, _, login in elsewhere.seen} == {""}
    assert all("/blobs/" in path for _, path, _ in elsewhere.seen)


def test_a_layer_is_not_followed_to_where_no_bundle_may_come_from(
    bundle: BundleMaker, registry: Registry, repository: str, web: Web, tmp_path: Path
) -> None:
    push(bundle(), registry.uri(repository, "1"), access=Access(allow_loopback=True))
    registry.copy(repository, web.folder)
    web.redirect_below = f"/v2/{repository}/blobs"
    source = Source(
        f"oci://localhost:{web.port}/{repository}:1", access=Access({"ca.crt": web.ca}, allow_loopback=True)
    )

    for target, says in {
        "http://models.example.com/blob": "is not served over TLS",
        "https://169.254.169.254/latest": "link-local or metadata",
    }.items():
        web.redirect = target
        with pytest.raises(Denied, match=says):
            fetch(source, tmp_path / "here")


def test_a_registry_that_gives_no_parts_and_one_that_lists_referrers_are_read_as_well(
    bundle: BundleMaker, registry: Registry, repository: str, web: Web, tmp_path: Path
) -> None:
    folder, here = bundle(files={"weights/a.bin": b"w" * 100_000}), Access(allow_loopback=True)
    generate_keys(tmp_path / "k.key", tmp_path / "k.pub")
    sign(folder, tmp_path / "k.key")
    image = push(folder, registry.uri(repository, "1"), access=here).pinned.partition("@")[2]
    registry.copy(repository, web.folder)
    index = registry.manifest(repository, image.replace(":", "-"))
    listed, below = index["manifests"][0]["digest"], web.folder / f"v2/{repository}"
    signature = json.loads(registry.blob(listed).read_bytes())["layers"][0]["digest"]
    shutil.copy(registry.blob(listed), below / f"manifests/{listed}")
    shutil.copy(registry.blob(signature), below / f"blobs/{signature}")
    (below / "referrers").mkdir()
    (below / f"referrers/{image}").write_text(json.dumps(index))
    web.ranges = False
    source = Source(
        f"oci://localhost:{web.port}/{repository}:1",
        public_key=(tmp_path / "k.pub").read_bytes(),
        access=Access({"ca.crt": web.ca}, allow_loopback=True),
    )

    assert fetch(source, tmp_path / "here").digest == verify_dir(folder).digest


def test_another_host_is_never_asked_without_tls_and_loopback_only_where_it_is_allowed(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def resolved(scheme: str, host: str, port: int, *, allow_loopback: bool) -> Any:
        asked.append(f"{scheme}://{host}:{port}")
        raise Denied("far enough", where=host)

    with pytest.raises(Denied, match="a loopback address"):
        resolve(Source(registry.uri("a/b", "1")))
    monkeypatch.setattr(protocol, "resolve_origin", resolved)
    for place in ("registry.example.com", "registry.example.com:5000", "docker.io", "10.0.0.7:5000"):
        with pytest.raises(Denied):
            resolve(Source(f"oci://{place}/a/b:1", access=Access(allow_loopback=True)))

    assert asked == [
        "https://registry.example.com:443",
        "https://registry.example.com:5000",
        "https://registry-1.docker.io:443",
        "https://10.0.0.7:5000",
    ]


def test_a_person_is_who_docker_login_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker-credential-keychain"
    program.write_text(f"#!/bin/sh\nread host\n[ $host = b.example.com ] && echo '{_secret('b')}' || exit 1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    auths = {**json.loads(docker_config("a.example.com"))["auths"], "https://index.docker.io/v1/": {"auth": "eDp5"}}
    config = {"auths": auths, "credsStore": "keychain"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    person, pod = Access(ambient=True), Access({SECRET: json.dumps(config)})

    assert login_for("a.example.com", person) == login_for("a.example.com", pod) == LOGIN
    assert login_for("b.example.com", person) == "Basic Yjpi"
    assert login_for("docker.io", person) == "Basic eDp5"
    assert login_for("c.example.com", person) == login_for("a.example.com:5000", person) == ""
    assert login_for("b.example.com", pod) == ""  # a Secret starts no program
    assert login_for("a.example.com", Access()) == ""  # and nobody else reads a person's file


def _secret(name: str) -> str:
    return json.dumps({"ServerURL": f"{name}.example.com", "Username": name, "Secret": name})


def test_a_pod_resolves_and_fetches_with_the_secret_that_is_mounted(
    bundle: BundleMaker, guarded: Registry, repository: str, tmp_path: Path
) -> None:
    uri, config = guarded.uri(repository, "1"), docker_config(guarded.place)
    pushed = push(bundle(), uri, access=access_with(config))
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / SECRET).write_text(config)
    runtime = [sys.executable, "-m", "tests.control_plane.runtime_on_loopback"]

    def ended(*arguments: object) -> tuple[int, dict[str, Any]]:
        command = [*runtime, *map(str, arguments), "--digest", pushed.digest]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, json.loads(done.stdout or done.stderr)

    refused, why = ended("resolve", uri)
    resolved, about = ended("resolve", uri, "--store-secret", tmp_path / "secret")
    fetched, _ = ended("fetch", uri, tmp_path / "here", "--store-secret", tmp_path / "secret")

    assert (refused, why["reason"]) == (1, "Denied")
    assert (resolved, about["digest"], f"{uri}@{about['image']}") == (0, pushed.digest, pushed.pinned)
    assert (fetched, verify_dir(tmp_path / "here").digest) == (0, pushed.digest)
