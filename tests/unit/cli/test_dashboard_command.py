"""What `tidegate dashboard` makes of its options."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from tests.unit.cli.conftest import Tidegate

from tidegate.cluster.kubectl.dashboard import Wish, in_url, same_cluster

ADDRESS = "http://127.0.0.1:8090/#key=abc"


@pytest.fixture
def wishes(monkeypatch: pytest.MonkeyPatch) -> list[Wish]:
    """What was asked for; nothing is served."""
    found: list[Wish] = []

    async def serve(wish: Wish, begun: Callable[[str, str], None]) -> int:
        found.append(wish)
        begun("namespace shop of context prod (https://prod)", ADDRESS)
        return 130

    monkeypatch.setattr("tidegate.cluster.kubectl.dashboard.serve", serve)
    return found


def test_it_prints_its_target_and_its_address_and_opens_nothing(
    tidegate: Tidegate, wishes: list[Wish], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("click.launch", opened.append)

    assert tidegate("dashboard") == (130, f"target: namespace shop of context prod (https://prod)\n{ADDRESS}\n", "")
    assert opened == []
    assert wishes == [Wish(("",), "", None, "127.0.0.1", 8090)]
    tidegate("dashboard", "--open")
    assert opened == [ADDRESS]


def test_namespaces_are_named_once_each_or_all_are_meant(tidegate: Tidegate, wishes: list[Wish]) -> None:
    tidegate("dashboard", "-n", "shop", "-n", "bank", "-n", "shop", "--context", "prod", "--port", "0")
    tidegate("dashboard", "-A")

    assert [wish.namespaces for wish in wishes] == [("shop", "bank"), ()]
    assert (wishes[0].context, wishes[0].port) == ("prod", 0)


def test_all_namespaces_and_some_are_not_both_meant(tidegate: Tidegate, wishes: list[Wish]) -> None:
    code, _, error = tidegate("dashboard", "-A", "-n", "shop")

    assert (code, wishes) == (2, [])
    assert "leave one of -A and -n away" in error


def test_so_many_namespaces_are_better_all(tidegate: Tidegate, wishes: list[Wish]) -> None:
    code, _, error = tidegate("dashboard", *(f"-nteam-{number}" for number in range(21)))

    assert (code, wishes) == (2, [])
    assert "more than 20 namespaces: use -A" in error


def test_an_address_that_others_can_reach_is_warned_of(tidegate: Tidegate, wishes: list[Wish]) -> None:
    assert "plain HTTP" in tidegate("dashboard", "--host", "0.0.0.0")[2]
    assert tidegate("dashboard", "--host", "::1")[2] == ""


def test_a_package_that_is_missing_is_named(
    tidegate: Tidegate, wishes: list[Wish], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "orjson", None)

    code, _, error = tidegate("dashboard")

    assert (code, wishes) == (1, [])
    assert "pip install 'tidegate[dashboard]'" in error


def test_a_command_asks_where_the_page_looks() -> None:
    """Whatever becomes the kubeconfig's current context meanwhile."""
    assert same_cluster(Wish(("",), "", None, "127.0.0.1", 1), "prod") == ["--context=prod"]
    assert same_cluster(Wish(("",), "", None, "127.0.0.1", 1), "in-cluster") == []


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1")]
)
def test_the_address_is_one_that_a_browser_here_can_open(host: str, shown: str) -> None:
    assert in_url(host) == shown
