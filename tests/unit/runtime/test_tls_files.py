"""The files of a certificate: what is refused, and that a bad pair never takes the place of a good one."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.runtime.certificates import Files, replace

from tidegate_runtime.reloading import Unusable
from tidegate_runtime.tls import HTTP, HTTP2, TlsFiles, name_of


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def read(files: Files, *, mutual: bool = False) -> TlsFiles:
    return TlsFiles(files.certificate, files.key, files.ca if mutual else None)


def test_nothing_older_than_tls_1_2_is_spoken_and_clients_are_asked_where_there_is_an_authority(files: Files) -> None:
    plain, mutual = read(files).context(HTTP), read(files, mutual=True).context(HTTP2)
    assert plain.minimum_version is mutual.minimum_version is ssl.TLSVersion.TLSv1_2
    assert (plain.verify_mode, mutual.verify_mode) == (ssl.CERT_NONE, ssl.CERT_REQUIRED)


def encrypted() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    password = serialization.BestAvailableEncryption(b"hunter2")
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, password)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tls.crt", b"", "tls.crt: it cannot be read"),
        ("tls.crt", b"nonsense", "not a usable PEM file"),
        ("tls.key", b"nonsense", "not a usable PEM file"),
        ("tls.key", encrypted(), "tls.key: the key has a password"),
        ("ca.crt", b"nonsense", "ca.crt: "),
        ("ca.crt", "Prüfstelle".encode(), "ca.crt: not a usable PEM file"),
    ],
)
def test_what_is_no_pair_is_refused_with_the_file_and_the_good_one_stays(
    files: Files, name: str, content: bytes, said: str
) -> None:
    tls = read(files, mutual=True)
    before = tls.context(HTTP), tls.contents
    replace(files.folder / name, content)

    with pytest.raises(Unusable) as refused:
        tls.look()

    assert said in str(refused.value)
    assert (tls.context(HTTP), tls.contents) == before
    with pytest.raises(Unusable):
        read(files, mutual=True)


def test_a_key_of_another_certificate_is_refused_until_its_own_comes(files: Files) -> None:
    tls = read(files)
    old = files.certificate.read_bytes()
    files.renew()
    new = files.certificate.read_bytes()
    replace(files.certificate, old)
    with pytest.raises(Unusable, match="the key is not the certificate's"):
        tls.look()

    replace(files.certificate, new)
    assert tls.look() is True
    assert tls.contents is not None
    assert tls.contents.certificate == new
    assert tls.look() is False


def test_it_is_known_when_the_certificate_expires_even_when_that_was_yesterday(files: Files) -> None:
    for before, after in ((1, 9), (9, -1)):
        files.renew(begins=timedelta(days=-before), ends=timedelta(days=after))
        expires = x509.load_pem_x509_certificate(files.certificate.read_bytes()).not_valid_after_utc
        assert read(files).expires == read(files, mutual=True).expires == expires.timestamp()


def test_what_stands_between_the_blocks_may_be_in_any_language(files: Files) -> None:
    for path in (files.certificate, files.ca):
        replace(path, "# Prüfstelle Zürich\n".encode() + path.read_bytes())

    tls = read(files, mutual=True)

    assert tls.expires is not None
    assert tls.context(HTTP).get_ca_certs() != []


def test_folders_that_are_swapped_by_a_link_are_taken_up_as_the_kubelet_does_it(tmp_path: Path) -> None:
    first, second = Files(tmp_path / "1"), Files(tmp_path / "2")
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "..data").symlink_to(first.folder)
    for name in ("tls.crt", "tls.key"):
        (mounted / name).symlink_to(Path("..data") / name)
    tls = TlsFiles(mounted / "tls.crt", mounted / "tls.key", None)
    assert tls.look() is False

    (mounted / "..next").symlink_to(second.folder)
    (mounted / "..next").replace(mounted / "..data")

    assert tls.look() is True
    assert tls.contents is not None
    assert tls.contents.certificate == second.certificate.read_bytes()


def test_a_key_is_never_shown(files: Files) -> None:
    assert "PRIVATE" not in repr(read(files).contents)


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        (None, ""),
        ({}, ""),
        ({"subject": ((("organizationName", "o"),), (("commonName", "ana"),))}, "ana"),
        ({"subject": (), "subjectAltName": (("URI", "spiffe://mesh/ana"), ("DNS", "ana"))}, "spiffe://mesh/ana"),
    ],
)
def test_a_client_is_called_by_its_certificate(certificate: dict[str, object] | None, name: str) -> None:
    assert name_of(certificate) == name
