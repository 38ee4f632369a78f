"""Servers that must prove who they are."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from tests.bundle.web import authority
from tests.unit.client.scripted_server import Answer, following

from tidegate.client import Client, NotTrusted, ServerFailed


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    """A server's side, with a certificate by the authority in `ca.pem`."""
    ca, chain = authority(tmp_path)
    (tmp_path / "ca.pem").write_text(ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context


def test_a_server_whose_certificate_nobody_vouches_for_is_sent_nothing(tls: ssl.SSLContext) -> None:
    with following(Answer(), tls=tls) as server, Client(server.url) as client:
        with pytest.raises(NotTrusted, match="unable to get local issuer certificate"):
            client.ready()

        assert server.received == []
        assert server.connections == 1


def test_an_authority_of_ones_own_is_named_in_the_environment(
    tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    with following(Answer(), tls=tls) as server, Client(server.url) as client:
        assert client.ready()


def test_a_server_that_knows_no_tls_is_told_from_one_that_cannot_be_trusted() -> None:
    with (
        following(Answer()) as server,
        Client(server.url.replace("http://", "https://")) as client,
        pytest.raises(ServerFailed, match="the answer is not TLS: the server there speaks http://") as failed,
    ):
        client.metadata("m")

    assert failed.value.exit_code == 1
