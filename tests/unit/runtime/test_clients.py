"""The file of clients and their tokens: what it may say, and what is done with one that says nonsense."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_runtime.clients import EXPLAIN, INFER, METADATA, MOST_CLIENTS, Doorkeeper, read_clients
from tidegate_runtime.errors import PermissionDenied, Unauthenticated
from tidegate_runtime.reloading import Unusable


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


ANA, BEN = digest("ana's"), digest("ben's")


def test_a_line_is_a_client_and_comments_are_none() -> None:
    found = read_clients(f"# ours\n\nana {ANA} infer,metadata\n  ben\t{BEN.upper()}  explain\n".encode(), "f")

    assert [(one.name, key.hex(), one.scopes) for key, one in found.items()] == [
        ("ana", ANA, frozenset({INFER, METADATA})),
        ("ben", BEN, frozenset({EXPLAIN})),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "f: it cannot be read, is empty"),
        ("# nobody\n", "f: it names 0 clients"),
        (f"ana {ANA}\n", "f:1: a line is NAME SHA256 SCOPE"),
        (f"# a\nana {ANA} infer, metadata\n", "f:2: a line is NAME SHA256 SCOPE"),
        (f"-ana {ANA} infer\n", "f:1: a name has 1 to 64"),
        (f"{'a' * 65} {ANA} infer\n", "f:1: a name has 1 to 64"),
        ("ana secret infer\n", "f:1: the second word is not a SHA-256"),
        (f"ana {digest('')} infer\n", "f:1: this is the digest of an empty token"),
        (f"ana {ANA} infer,admin\n", "f:1: 'admin' is no scope"),
        (f"ana {ANA} infer\nben {ANA} infer\n", "f:2: this token already belongs to ana"),
        ("".join(f"c {digest(str(n))} infer\n" for n in range(MOST_CLIENTS + 1)), "f: it names 1025 clients"),
        ("\x00\xff\n", "f:1: a line is"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(content: str, said: str) -> None:
    with pytest.raises(Unusable) as refused:
        read_clients(content.encode("latin-1"), "f")
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


@given(st.binary(max_size=300) | st.text(f"an{ANA}infer, #\n").map(str.encode))
def test_any_bytes_are_clients_or_one_sentence(content: bytes) -> None:
    with contextlib.suppress(Unusable):
        assert read_clients(content, "f")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "clients"
    path.write_text(f"ana {ANA} infer\nben {BEN} infer,metadata\n")
    return path


@pytest.mark.parametrize("header", ["Bearer ana's", "bearer ana's", "BEARER   ana's "])
def test_a_client_is_known_by_its_token(file: Path, header: str) -> None:
    assert Doorkeeper(file).client(header).name == "ana"


@pytest.mark.parametrize(
    "header", ["", "Basic ana's", "ana's", "Bearer", "Bearer ", "Bearer x", "Bearer " + "x" * 9000]
)
def test_nobody_else_is(file: Path, header: str) -> None:
    keeper = Doorkeeper(file)
    with pytest.raises(Unauthenticated) as refused:
        keeper.client(header)
    assert "ana" not in str(refused.value)
    assert keeper.refused == {401: 1}


def test_a_token_is_the_bytes_that_came_whatever_they_mean(file: Path) -> None:
    file.write_text(f"ana {hashlib.sha256('schlüssel'.encode()).hexdigest()} infer\n")
    header = "Bearer schlüssel".encode().decode("latin-1")  # as a header is read
    assert Doorkeeper(file).client(header).name == "ana"
    with pytest.raises(Unauthenticated):
        Doorkeeper(file).client("Bearer \u20ac")


def test_a_client_may_do_what_its_scopes_say(file: Path) -> None:
    keeper = Doorkeeper(file)
    keeper.require(keeper.client("Bearer ben's"), METADATA)
    with pytest.raises(PermissionDenied, match="client 'ana' lacks the scope metadata: it has infer"):
        keeper.require(keeper.client("Bearer ana's"), METADATA)
    assert keeper.refused == {403: 1}


def test_two_tokens_of_one_client_are_both_good(file: Path) -> None:
    file.write_text(f"ana {ANA} infer\nana {BEN} infer\n")
    keeper = Doorkeeper(file)
    assert {keeper.client(f"Bearer {token}").name for token in ("ana's", "ben's")} == {"ana"}


def test_a_change_is_taken_up_and_nonsense_is_not(file: Path) -> None:
    keeper = Doorkeeper(file)
    assert keeper.look() is False

    file.write_text(f"ben {BEN} infer\n")
    assert keeper.look() is True
    with pytest.raises(Unauthenticated):
        keeper.client("Bearer ana's")

    file.write_text("ben\n")
    with pytest.raises(Unusable):
        keeper.look()
    file.unlink()
    with pytest.raises(Unusable):
        keeper.look()
    assert keeper.client("Bearer ben's").name == "ben"
