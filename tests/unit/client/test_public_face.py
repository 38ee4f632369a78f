"""What `import tidegate` gives, and what it does not cost."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tidegate
from tidegate.client import Client, ModelAddress, model_address
from tidegate.errors import Invalid


def test_the_client_is_there_when_it_is_asked_for_and_not_before() -> None:
    program = "import sys, tidegate; print('numpy' in sys.modules); tidegate.Client; print('numpy' in sys.modules)"

    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert seen.split() == ["False", "True"]
    assert tidegate.Client is Client


def test_nothing_else_is_made_up() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Server'"):
        tidegate.Server  # noqa: B018 - the look is the test


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://h:8080/v2/models/fraud", ModelAddress("http://h:8080", "fraud")),
        ("http://h:8080/v2/models/fraud/infer", ModelAddress("http://h:8080", "fraud")),
        ("https://h/team/v2/models/a%2Fb/versions/r7", ModelAddress("https://h/team", "a/b", "r7")),
        ("http://[::1]:80/v2/models/m/versions/1.0/infer", ModelAddress("http://[::1]:80", "m", "1.0")),
    ],
)
def test_the_address_of_a_model_has_its_server_name_and_version(url: str, address: ModelAddress) -> None:
    assert model_address(url) == address


@pytest.mark.parametrize(
    "url", ["http://h:8080", "http://h/v2/models/", "ftp://h/v2/models/m", "http://h/v2/models/m/x"]
)
def test_other_addresses_are_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(Invalid, match="/v2/models/NAME"):
        model_address(url)


@pytest.mark.parametrize("below", ["/v2/models/m", "/v2/models/m/x", ""])
def test_an_address_with_credentials_is_refused_without_showing_them(below: str) -> None:
    with pytest.raises(Invalid, match="holds no credentials") as refused:
        model_address(f"http://anna:secret@h{below}")

    assert "secret" not in str(refused.value)


def test_a_name_may_hold_any_sign() -> None:
    assert model_address("http://h/v2/models/a@b") == ModelAddress("http://h", "a@b")
