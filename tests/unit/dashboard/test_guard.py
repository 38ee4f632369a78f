"""Requests that were not meant for us, or that our page did not make."""

from __future__ import annotations

import pytest

from tidegate.dashboard.guard import TOKEN, acts_from_our_page, host_is_ours, is_from_elsewhere, knows


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8090",
        "localhost:8090",
        "LOCALHOST",
        "[::1]:8090",
        "10.1.2.3:80",
        "models.example.com",
        "Models.Example.com:443",
    ],
)
def test_addresses_localhost_and_allowed_names_are_ours(host: str) -> None:
    assert host_is_ours(host, {"models.example.com"})


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com:8090",
        "localhost.evil.example.com",
        "127.0.0.1.evil.example.com",
        "127.1",
        "2130706433",
        "",
        ":8090",
    ],
)
def test_other_names_are_not(host: str) -> None:
    """A name can be made to lead to 127.0.0.1 by whoever owns it."""
    assert not host_is_ours(host, {"models.example.com"})


@pytest.mark.parametrize(
    ("site", "elsewhere"), [("same-origin", False), ("none", False), ("same-site", True), ("cross-site", True)]
)
def test_a_browser_says_whether_another_site_asks(site: str, elsewhere: bool) -> None:
    assert is_from_elsewhere({"Sec-Fetch-Site": site}) is elsewhere
    assert not is_from_elsewhere({}), "curl"


def test_a_token_must_be_the_whole_one() -> None:
    assert knows("abc", {TOKEN: "abc"})
    for wrong in ("", "ab", "abcd", "ABC", "äbc", "\udcffbc"):  # the last: a byte that is no UTF-8
        assert not knows("abc", {TOKEN: wrong})
    assert not knows("abc", {})


@pytest.mark.parametrize(
    "origin", ["", "null", "http://evil.example.com", "http://localhost:1", "https://localhost:8090"]
)
def test_an_act_needs_the_origin_of_the_page_itself(origin: str) -> None:
    assert not acts_from_our_page({"Host": "localhost:8090", "Origin": origin})
    assert acts_from_our_page({"Host": "localhost:8090", "Origin": "http://localhost:8090"})
