"""Whose tokens the servers are told to believe."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tidegate.cluster.connection import Call
from tidegate.cluster.errors import ApiDown
from tidegate.cluster.trust import OwnToken, claims, read_access, try_access

SUBJECT = "system:serviceaccount:tidegate:operator"
KEYS = [{"kid": "b", "kty": "RSA"}, {"kid": "a", "kty": "RSA"}]


def token(**said: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
    return f"head.{body}.signature"


class Answers:
    """A connection that knows the two documents."""

    def __init__(self, down: bool = False) -> None:
        self.down = down
        self.accepted: list[str] = []

    async def send(self, call: Call, deadline: float) -> dict[str, Any]:
        if self.down:
            raise ApiDown("no answer")
        self.accepted.append(call.accept)
        documents: dict[str, dict[str, Any]] = {
            "/.well-known/openid-configuration": {"issuer": "https://kubernetes.default.svc"},
            "/openid/v1/jwks": {"keys": KEYS},
        }
        return documents[call.path]


def own(folder: Path, text: str) -> OwnToken:
    (folder / "token").write_text(text)
    return OwnToken(folder / "token")


def read(answers: Answers, own: OwnToken) -> str:
    return asyncio.run(read_access(answers, own))  # type: ignore[arg-type]


def test_servers_are_told_the_clusters_keys_and_the_operators_name(tmp_path: Path) -> None:
    answers = Answers()

    document = json.loads(read(answers, own(tmp_path, token(sub=SUBJECT))))

    assert document["issuer"] == "https://kubernetes.default.svc"
    assert document["audience"] == "tidegate"
    assert [key["kid"] for key in document["jwks"]["keys"]] == ["a", "b"]
    assert document["subjects"]["evidence"] == [SUBJECT]
    assert "application/jwk-set+json" in answers.accepted


def test_keys_in_another_order_are_the_same_document(tmp_path: Path) -> None:
    before = read(Answers(), own(tmp_path, token(sub=SUBJECT)))
    KEYS.reverse()

    assert read(Answers(), own(tmp_path, token(sub=SUBJECT))) == before


@pytest.mark.parametrize("text", ["", "garbage", "a.b.c", token(), "a." + "!" * 20 + ".c"])
def test_without_a_token_of_our_own_servers_are_told_of_nobody(tmp_path: Path, text: str) -> None:
    assert read(Answers(), own(tmp_path, text)) == ""


def test_without_a_token_file_there_is_no_token(tmp_path: Path) -> None:
    assert OwnToken(None)() == ""
    assert OwnToken(tmp_path / "missing")() == ""


def test_what_is_known_stays_while_the_api_server_is_silent(tmp_path: Path) -> None:
    mine = own(tmp_path, token(sub=SUBJECT))

    assert asyncio.run(try_access(Answers(down=True), mine, "known")) == "known"  # type: ignore[arg-type]


@pytest.mark.parametrize("before", ["known", None])
def test_what_is_known_stays_while_the_token_is_not_there(tmp_path: Path, before: str | None) -> None:
    missing = OwnToken(tmp_path / "missing")

    assert asyncio.run(try_access(Answers(), missing, before)) == before  # type: ignore[arg-type]


def test_without_a_token_file_servers_are_told_of_nobody() -> None:
    assert asyncio.run(try_access(Answers(), OwnToken(None), None)) == ""  # type: ignore[arg-type]


def test_claims_of_what_is_no_object_are_none() -> None:
    body = base64.urlsafe_b64encode(b"[1]").decode()

    assert claims(f"a.{body}.c") == {}
