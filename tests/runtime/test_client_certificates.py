"""`tidegate.Client` and servers that ask who it is: by its certificate, by a token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.control_plane.pki import Authority
from tests.runtime import small_bundles as small
from tests.runtime.certificates import Files
from tests.runtime.conftest import Running
from tests.runtime.test_clients import bearer, lines

from tidegate import Client
from tidegate.client import ClientError, NotTrusted, RequestRefused, Unanswered
from tidegate.errors import Invalid

INPUTS = {"x": np.array([[1, 2, 3, 4]], np.float32)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(files: Files, bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    (files.folder / "clients").write_bytes(lines("ana"))
    return serve(bundles(small.linear()), *files.mutual, "--auth-file", str(files.folder / "clients"))


@pytest.fixture(autouse=True)
def trusted(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(files.ca))


def test_with_its_certificate_and_token_it_is_let_in(server: Running, files: Files) -> None:
    url, pair = f"https://localhost:{server.http}", files.client("ana")
    with Client(url, client_cert=pair, headers=bearer("ana")) as client:
        assert client.infer("fraud", INPUTS)["label"].tolist() == [2]
    with Client(url, client_cert=pair) as client, pytest.raises(RequestRefused, match="a token is needed") as refused:
        client.infer("fraud", INPUTS)
    assert refused.value.status == 401


def test_without_a_certificate_or_with_a_strangers_it_is_told_what_to_give(server: Running, files: Files) -> None:
    url, stranger = f"https://localhost:{server.http}", files.client("mallory", Authority.new())
    for pair in (None, stranger):
        with Client(url, client_cert=pair) as client, pytest.raises(ClientError) as refused:
            client.infer("fraud", INPUTS)
        # The server's word may come after the request has broken off at its closed door.
        assert isinstance(refused.value, NotTrusted | Unanswered)
        assert "client_cert" in refused.value.do or isinstance(refused.value, Unanswered)


@pytest.mark.parametrize("content", [None, b"nonsense"])
def test_files_that_cannot_be_used_are_told_before_anything_is_sent(tmp_path: Path, content: bytes | None) -> None:
    pair = (tmp_path / "a.crt", tmp_path / "a.key")
    if content is not None:
        for path in pair:
            path.write_bytes(content)
    said = "No such file" if content is None else "not a PEM certificate"
    with pytest.raises(Invalid, match=said):
        Client("https://localhost", client_cert=pair)
