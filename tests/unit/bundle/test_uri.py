"""Bundle addresses are plain, and what is dialled is judged."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tidegate.bundle.addresses import objection_to, resolve_origin
from tidegate.bundle.errors import Denied, Unreachable
from tidegate.bundle.source import Source
from tidegate.bundle.stores import open_repository, open_store
from tidegate.bundle.uri import parse_uri
from tidegate.errors import Invalid

PIN = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "repository", "version"),
    [
        ("s3://models/team/fraud/1.4.0", "team/fraud", "1.4.0"),
        ("https://models.example.com:8443/fraud/1.4.0", "fraud", "1.4.0"),
        ("s3://models/1", "", "1"),
        ("file:///srv/models/fraud/1", "/srv/models/fraud", "1"),
        ("file://localhost/srv/fraud/1/", "/srv/fraud", "1"),
    ],
)
def test_an_address_is_a_repository_and_a_version(text: str, repository: str, version: str) -> None:
    uri = parse_uri(f"{text}@{PIN}")

    assert (uri.repository, uri.version, uri.digest) == (repository, version, PIN)


@pytest.mark.parametrize(
    ("text", "path", "image"),
    [
        ("oci://registry.example.com/team/fraud:1.4.0", "team/fraud:1.4.0", None),
        (f"oci://registry.example.com:5000/fraud@{PIN}", "fraud", PIN),
        (f"oci://registry.example.com/team/fraud:1.4.0@{PIN}", "team/fraud:1.4.0", PIN),
    ],
)
def test_a_registry_address_pins_the_image_and_its_bundle_has_another_digest(
    text: str, path: str, image: str | None
) -> None:
    uri = Source(text, "sha256:" + "b" * 64).address()

    assert (uri.path, uri.image, uri.digest) == (path, image, "sha256:" + "b" * 64)
    assert str(uri) == text


def test_a_plain_directory_is_a_file_address() -> None:
    assert parse_uri("bundle").path == str(Path("bundle").absolute())


@pytest.mark.parametrize(
    "text",
    [
        "s3://user:pass@models/fraud/1",
        "https://token@example.com/fraud/1",
        "https://example.com/fraud/1?x=1",
        "https://example.com/fraud/1#x",
        "https://example.com/../etc/1",
        "https://example.com/%2e%2e/1",
        "https://example.com/a\\b/1",
        "https://exämple.com/fraud/1",
        "https://example.com:0/fraud/1",
        "https://example.com:65536/fraud/1",
        "https://example.com",
        "https://example.com//1",
        "s3://UPPER/fraud/1",
        "s3://models",
        "s3://models/fraud/1\n",
        "s3://models/fraud/\x001",
        "s3://models/" + "a" * 2048,
        "file://host/srv/1",
        "oci://registry.example.com/fraud",
        "oci://registry.example.com/Fraud:1",
        "oci://registry.example.com/fraud:",
        "oci://registry.example.com/fraud:1:2",
        "oci://registry.example.com/../fraud:1",
        "oci://registry.example.com/fraud/:1",
        "oci://user:pass@registry.example.com/fraud:1",
        "s3://models/fraud/1@sha256:abc",
        "s3://models/fraud/1@sha256:" + "A" * 64,
    ],
)
def test_an_address_that_two_readers_could_read_differently_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_uri(text)


def test_two_pins_that_differ_are_refused() -> None:
    with pytest.raises(Invalid, match="pins"):
        Source(f"s3://models/fraud/1@{PIN}", "sha256:" + "b" * 64).address()


@pytest.mark.parametrize("text", ["http://example.com/a/1", "ftp://example.com/a/1", "gs://models/a/1"])
def test_a_scheme_that_no_store_speaks_is_refused_with_those_that_are_spoken(text: str) -> None:
    source = Source(text)

    with pytest.raises(Invalid, match="s3:// https:// oci://"):
        open_store(source.address(), source.access)


def test_a_web_server_cannot_be_pushed_to() -> None:
    source = Source("https://example.com/fraud/1")

    with pytest.raises(Invalid, match="can only be read"):
        open_repository(source.address(), source.access)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1%eth0", "::ffff:169.254.169.254",
     "fd00:ec2::254", "100.100.100.200", "0.0.0.0", "224.0.0.1", "2002:7f00:1::"],
)  # fmt: skip
def test_no_bundle_comes_from_loopback_link_local_or_metadata_addresses(address: str) -> None:
    assert objection_to(address, allow_loopback=False)


@pytest.mark.parametrize("address", ["10.1.2.3", "192.168.0.7", "93.184.216.34", "2606:2800:220:1::1"])
def test_private_and_public_addresses_are_fine(address: str) -> None:
    assert not objection_to(address, allow_loopback=False)


def test_the_api_server_of_the_cluster_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")

    assert "API server" in objection_to("10.96.0.1", allow_loopback=True)


def test_link_local_is_refused_even_where_loopback_is_allowed() -> None:
    assert not objection_to("127.0.0.1", allow_loopback=True)
    assert objection_to("169.254.169.254", allow_loopback=True)


def test_one_bad_address_among_good_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 443)) for ip in ("93.184.216.34", "169.254.169.254")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: rows)

    with pytest.raises(Denied, match=r"169\.254"):
        resolve_origin("https", "rebind.example", 443, allow_loopback=False)


def test_a_name_that_does_not_resolve_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    with pytest.raises(Unreachable, match="does not resolve"):
        resolve_origin("https", "nowhere.invalid", 443, allow_loopback=False)
