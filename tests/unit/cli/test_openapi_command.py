"""`tidegate openapi` as it is typed."""

from __future__ import annotations

import json

import pytest
from tests.runtime.small_bundles import linear, write_bundle
from tests.unit.cli.conftest import Tidegate


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_bundle(tmp_path_factory.mktemp("bundle") / "v1", linear()))


@pytest.mark.parametrize("name", ["Bad Name", "fraud/2", "", "a" * 41])
def test_a_name_that_no_deployment_can_have_is_wrong_usage(tidegate: Tidegate, bundle: str, name: str) -> None:
    code, printed, error = tidegate("openapi", bundle, "--name", name)

    assert (code, printed) == (2, "")
    assert error.startswith(f"error: --name: {name!r} is not a deployment's: write ")


@pytest.mark.parametrize(
    "server",
    ["not a url", "", "h:8080", "ftp://h", "http://", "http://anna:secret@h", "http://h?q", "http://h/#f", "http://é"],
)
def test_what_is_no_address_of_a_server_is_wrong_usage(tidegate: Tidegate, bundle: str, server: str) -> None:
    code, printed, error = tidegate("openapi", bundle, "--server", server)

    assert (code, printed) == (2, "")
    assert error == "error: --server: not the address of a server: write http://HOST:PORT, https://HOST or /PATH\n"


@pytest.mark.parametrize(
    ("server", "written"),
    [
        ("https://models.example.com", "https://models.example.com"),
        ("http://[::1]:8080/team/", "http://[::1]:8080/team"),
        ("/models", "/models"),
        ("/", "/"),
    ],
)
def test_a_server_is_a_url_or_a_path(tidegate: Tidegate, bundle: str, server: str, written: str) -> None:
    code, printed, _ = tidegate("openapi", bundle, "--server", server, "--name", "fraud-2")

    document = json.loads(printed)
    assert code == 0
    assert document["servers"] == [{"url": written}]
    assert "/v2/models/fraud-2/infer" in document["paths"]
