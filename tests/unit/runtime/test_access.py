"""Who gets to the internal endpoints: service accounts with a good token and the right, and nobody else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as some
from tests.runtime.tokens import ISSUER, OPERATOR, SIBLING, Mounted, access_document, ec_key, rsa_key

from tidegate_runtime import access
from tidegate_runtime.access import MOST_KNOWN, BadAccess, Guard, Untrusted, read_grants, verified
from tidegate_runtime.metrics_http import Request
from tidegate_runtime.watched_file import MAX_TOKEN, TokenFile, WatchedFile

GOOD = access_document(rsa_key(), ec_key())
GRANTS = read_grants(GOOD)
EVIDENCE = "/internal/evidence"
COMPARE = "/internal/compare"


def ask(guard: Guard, token: str, path: str = EVIDENCE) -> tuple[int, bytes]:
    """Status and sentence of a refusal; 200 when there is none."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    refused = asyncio.run(guard.refusal(Request("GET", path, headers)))
    return (200, b"") if refused is None else (refused.status, refused.body)


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    return Mounted(tmp_path / "access", GOOD)


@pytest.fixture
def guard(mounted: Mounted) -> Iterator[Guard]:
    guarding = Guard(None, mounted.file)
    guarding.start()
    yield guarding
    guarding.stop()


def segment(content: Any) -> bytes:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": ISSUER, "aud": ["tidegate"], "sub": OPERATOR, "exp": now + 600, "iat": now, **changes}


def why_not(token: str) -> str:
    with pytest.raises(Untrusted) as refused:
        verified(token, GRANTS)
    return str(refused.value)


# tokens


@pytest.mark.parametrize("key", [rsa_key(), ec_key()], ids=["RS256", "ES256"])
def test_a_token_of_the_cluster_tells_whose_it_is_and_what_it_opens(key: Any) -> None:
    until = int(time.time()) + 600

    caller = verified(key.token(exp=until), GRANTS)

    assert caller == access.Caller(OPERATOR, frozenset({"evidence"}), float(until))


def test_a_token_for_several_audiences_is_also_for_us() -> None:
    assert verified(rsa_key().token(aud=["vault", "tidegate"]), GRANTS).subject == OPERATOR


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"exp": int(time.time()) - 3600}, "it has expired"),
        ({"nbf": int(time.time()) + 86400}, "it is not valid yet"),
        ({"iat": int(time.time()) + 86400}, "it is not valid yet"),
        ({"aud": ["https://kubernetes.default.svc"]}, "it is for another audience"),
        ({"aud": []}, "it says too little"),
        ({"aud": None}, "it says too little"),
        ({"iss": "https://another.cluster"}, "another cluster issued it"),
        ({"iss": None}, "it says too little"),
        ({"exp": None}, "it says too little"),
        ({"sub": None}, "it says too little"),
        ({"exp": "soon"}, "it is no token of this cluster"),
    ],
)
def test_a_token_whose_claims_are_wrong_opens_nothing(changes: dict[str, Any], why: str) -> None:
    assert why_not(rsa_key().token(**changes)) == why


def test_clocks_of_two_nodes_may_differ_by_seconds() -> None:
    now = int(time.time())

    assert verified(rsa_key().token(exp=now - 3), GRANTS)
    assert verified(rsa_key().token(nbf=now + 3, iat=now + 3), GRANTS)


def test_an_unsigned_token_opens_nothing() -> None:
    for name in ("none", "None", "NONE", ""):
        head = segment({"alg": name, "kid": "rsa", "typ": "JWT"})
        assert why_not(b".".join([head, segment(claims()), b""]).decode())


@pytest.mark.parametrize("key", [rsa_key(), ec_key()], ids=["RSA", "EC"])
def test_a_public_key_is_never_taken_for_a_shared_secret(key: Any) -> None:
    public = key.public()
    for secret in (key.pem(), key.pem().strip(), json.dumps(public).encode(), b"", public.get("n", "").encode()):
        signed = b".".join([segment({"alg": "HS256", "kid": key.kid}), segment(claims())])
        forged = b".".join([signed, segment(hmac.digest(secret, signed, hashlib.sha256))]).decode()
        assert why_not(forged) == "it is no token of this cluster"


def test_each_key_signs_with_its_own_algorithm_only() -> None:
    assert why_not(rsa_key().token(algorithm="RS512"))
    assert why_not(rsa_key().token(algorithm="PS256"))
    assert why_not(ec_key().token(headers={"kid": "rsa"}))
    assert why_not(rsa_key().token(headers={"kid": "ec"}))


def test_a_token_by_another_key_under_a_known_id_opens_nothing() -> None:
    assert why_not(rsa_key("other").token(headers={"kid": "rsa"})) == "its signature is wrong"


@pytest.mark.parametrize("headers", [{}, {"kid": "unknown"}, {"kid": "../rsa"}, {"kid": "rsa", "crit": ["x"], "x": 1}])
def test_a_token_that_names_no_key_of_the_cluster_opens_nothing(headers: dict[str, Any]) -> None:
    assert why_not(rsa_key().token(headers=headers))


def test_a_key_that_the_token_itself_brings_is_not_looked_at() -> None:
    stranger = rsa_key("stranger")

    assert why_not(stranger.token(headers={"kid": "stranger", "jwk": stranger.public()}))
    assert why_not(stranger.token(headers={"kid": "rsa", "jwk": stranger.public(), "jku": "https://x/jwks"}))


def test_a_claim_that_was_changed_after_signing_opens_nothing() -> None:
    head, _, signature = rsa_key().token(SIBLING).split(".")

    assert why_not(".".join([head, segment(claims()).decode(), signature])) == "its signature is wrong"


def test_a_token_of_more_than_four_kib_is_not_even_read() -> None:
    assert why_not(rsa_key().token(padding="x" * MAX_TOKEN)) == "it is too long"


@given(some.text(max_size=300) | some.binary(max_size=300).map(lambda raw: raw.decode("latin-1")))
def test_garbage_opens_nothing(text: str) -> None:
    assert why_not(text)


@given(
    some.lists(
        some.binary(max_size=60)
        | some.recursive(
            some.none() | some.booleans() | some.floats() | some.integers() | some.text(max_size=8),
            lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
            max_leaves=8,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_garbage_in_the_shape_of_a_token_opens_nothing(parts: list[Any]) -> None:
    assert why_not(".".join(segment(part).decode() for part in parts))


def test_json_that_is_nested_without_end_opens_nothing() -> None:
    deep = b"[" * 1400 + b"]" * 1400

    assert why_not(f"{segment(deep).decode()}.e30.e30")


# the file


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cannot be read"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (access_document(rsa_key(), issuer=""), "issuer and audience"),
        (access_document(rsa_key(), issuer=["a", "b"]), "issuer and audience"),
        (access_document(rsa_key(), audience=None), "issuer and audience"),
        (access_document(rsa_key(), jwks=[]), "set of keys"),
        (access_document(rsa_key(), jwks={"keys": {}}), "set of keys"),
        (access_document(), "no RSA or P-256 key"),
        (access_document(rsa_key(), subjects=None), "subjects"),
        (access_document(rsa_key(), subjects={"evidence": OPERATOR}), "subjects.evidence"),
        (access_document(rsa_key(), subjects={"compare": [7]}), "subjects.compare"),
    ],
)
def test_a_file_that_cannot_be_used_says_what_is_wrong_with_it(content: bytes, why: str) -> None:
    with pytest.raises(BadAccess, match=why):
        read_grants(content)


@pytest.mark.parametrize(
    "row",
    [
        "text",
        None,
        {},
        {"kty": "oct", "kid": "a", "k": "c2VjcmV0", "alg": "HS256"},
        {"kty": "OKP", "kid": "a", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        {"kty": "RSA", "kid": "a", "n": "AQAB"},
        {"kty": "RSA", "kid": "a", "n": 1, "e": 2},
        {"kty": "EC", "kid": "a", "crv": "P-256", "x": "AA", "y": "AA"},
        {**rsa_key().public(), "kid": 7},
        {**rsa_key().public(), "use": "enc"},
        {**rsa_key().public(), "alg": "HS256"},
        {**rsa_key().public(), "alg": "none"},
        {**ec_key("wide", ec.SECP384R1()).public(), "alg": "ES256"},
    ],
)
def test_only_public_keys_of_the_two_kinds_count(row: Any) -> None:
    with pytest.raises(BadAccess, match="no RSA or P-256 key"):
        read_grants(access_document(jwks={"keys": [row]}))
    assert list(read_grants(access_document(jwks={"keys": [row, ec_key().public()]})).keys) == ["ec"]


def test_a_key_that_is_too_short_to_trust_admits_nobody() -> None:
    short = rsa_key("short", 1024)

    with warnings.catch_warnings(), pytest.raises(Untrusted):
        warnings.simplefilter("ignore")
        verified(short.token(), read_grants(access_document(short)))


def test_what_a_newer_operator_adds_to_the_file_is_left_alone() -> None:
    newer = access_document(rsa_key(), v=2, subjects={"evidence": [OPERATOR], "explain": {"any": "thing"}})

    assert read_grants(newer).subjects == {"evidence": {OPERATOR}, "compare": frozenset()}


# requests


@pytest.mark.parametrize("path", [EVIDENCE, "/internal/shadow", "/internal/rules", "/internal/golden"])
def test_the_operator_may_do_everything_but_compare(guard: Guard, path: str) -> None:
    assert ask(guard, rsa_key().token(OPERATOR), path) == (200, b"")
    assert ask(guard, rsa_key().token(SIBLING), path)[0] == 403


def test_servers_of_the_same_deployment_may_compare_and_nothing_else(guard: Guard) -> None:
    assert ask(guard, ec_key().token(SIBLING), COMPARE) == (200, b"")
    assert ask(guard, ec_key().token(OPERATOR), COMPARE) == (403, f"{OPERATOR} may not call this endpoint\n".encode())


def test_an_account_that_nobody_named_may_do_nothing(guard: Guard) -> None:
    stranger = rsa_key().token("system:serviceaccount:shop:intruder")

    assert [ask(guard, stranger, path)[0] for path in access.PERMISSIONS] == [403] * 5


def test_probes_and_metrics_are_for_everybody(guard: Guard) -> None:
    assert ask(guard, "", "/livez") == ask(guard, "junk", "/metrics") == (200, b"")


def test_without_a_token_there_is_nothing_to_talk_about(guard: Guard) -> None:
    assert ask(guard, "")[0] == 401
    for header in ("Basic abc", "bearer", rsa_key().token()):
        refused = asyncio.run(guard.refusal(Request("GET", EVIDENCE, {"authorization": header})))
        assert refused is not None
        assert refused.status == 401


def test_a_refusal_says_why_and_holds_nothing_of_the_token(guard: Guard) -> None:
    token = rsa_key().token(exp=int(time.time()) - 60)

    assert ask(guard, token) == (401, b"the token is not accepted: it has expired\n")


def test_without_either_file_everybody_is_refused() -> None:
    assert ask(Guard(None, None), rsa_key().token())[0] == 401


def test_the_token_of_a_local_run_opens_everything_beside_service_accounts(tmp_path: Path, mounted: Mounted) -> None:
    (tmp_path / "token").write_text("of-this-run\n")
    guarding = Guard(tmp_path / "token", mounted.file)

    assert [ask(guarding, "of-this-run", path)[0] for path in access.PERMISSIONS] == [200] * 5
    assert ask(guarding, rsa_key().token())[0] == 200
    assert ask(guarding, "of-this-runx")[0] == 401
    guarding.stop()


# keys and files change


def test_new_keys_are_taken_up_and_old_ones_forgotten_at_once(guard: Guard, mounted: Mounted) -> None:
    old, new = rsa_key().token(), rsa_key("next").token()
    assert (ask(guard, old)[0], ask(guard, new)[0]) == (200, 401)

    mounted.swap(access_document(rsa_key("next")))

    assert (ask(guard, old)[0], ask(guard, new)[0]) == (401, 200)


def test_a_right_that_was_taken_away_is_gone_for_tokens_that_were_admitted_before(
    guard: Guard, mounted: Mounted
) -> None:
    token = rsa_key().token()
    assert ask(guard, token)[0] == 200

    mounted.swap(access_document(rsa_key(), subjects={"compare": [OPERATOR]}))

    assert ask(guard, token)[0] == 403


@pytest.mark.parametrize("broken", [b"", b"{}", b"x" * (access.MAX_FILE + 1)])
def test_a_broken_file_admits_nobody_says_so_once_and_can_be_mended(
    guard: Guard, mounted: Mounted, caplog: pytest.LogCaptureFixture, broken: bytes
) -> None:
    token = rsa_key().token()
    assert ask(guard, token)[0] == 200
    mounted.swap(broken)

    with caplog.at_level(logging.WARNING):
        assert [ask(guard, token)[0] for _ in range(3)] == [401] * 3

    assert [record.getMessage().partition(" admits nobody: ")[0] for record in caplog.records] == [str(mounted.file)]
    mounted.swap(GOOD)
    assert ask(guard, token)[0] == 200


def test_a_file_that_is_not_there_admits_nobody_until_it_is(tmp_path: Path) -> None:
    guarding = Guard(None, tmp_path / "access.json")
    guarding.start()
    token = rsa_key().token()
    assert ask(guarding, token) == (
        401,
        b"the token is not accepted: this server cannot use its list of callers\n",
    )

    (tmp_path / "access.json").write_bytes(GOOD)

    assert ask(guarding, token)[0] == 200
    (tmp_path / "access.json").unlink()
    assert ask(guarding, token)[0] == 401
    guarding.stop()


def test_whatever_goes_wrong_with_the_verifier_admits_nobody(
    mounted: Mounted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(_: bytes) -> Any:
        raise ModuleNotFoundError("No module named 'jwt'")

    monkeypatch.setattr(access, "read_grants", missing)
    guarding = Guard(None, mounted.file)

    assert ask(guarding, rsa_key().token())[0] == 401
    assert "No module named 'jwt'" in caplog.text
    guarding.stop()


# what is remembered


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens that were verified in full."""
    seen: list[str] = []

    def counting(token: str, grants: access.Grants) -> access.Caller:
        seen.append(token)
        return verified(token, grants)

    monkeypatch.setattr(access, "verified", counting)
    return seen


def test_a_token_is_verified_once(guard: Guard, verifications: list[str]) -> None:
    token = rsa_key().token()

    assert [ask(guard, token)[0] for _ in range(5)] == [200] * 5

    assert len(verifications) == 1


def test_a_token_that_was_refused_is_not_remembered(guard: Guard, verifications: list[str]) -> None:
    for _ in range(3):
        assert ask(guard, rsa_key("other").token())[0] == 401

    assert len(verifications) == 3
    assert guard._accounts is not None
    assert guard._accounts._known.callers == {}


def test_a_remembered_token_opens_nothing_after_its_time(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    token = rsa_key().token(exp=int(now) + 600)
    assert ask(guard, token)[0] == 200
    expired = Untrusted("it has expired")

    def too_late(token: str, grants: access.Grants) -> access.Caller:
        raise expired

    monkeypatch.setattr(access, "verified", too_late)
    monkeypatch.setattr("tidegate_runtime.access.time.time", lambda: now + 599)
    assert ask(guard, token)[0] == 200
    monkeypatch.setattr("tidegate_runtime.access.time.time", lambda: now + 601)
    assert ask(guard, token)[0] == 401


def test_no_more_than_64_tokens_are_remembered_and_none_of_them_as_it_is(guard: Guard) -> None:
    tokens = [ec_key().token(jti=str(number)) for number in range(MOST_KNOWN + 6)]

    assert all(ask(guard, token)[0] == 200 for token in tokens)

    assert guard._accounts is not None
    known = guard._accounts._known.callers
    assert len(known) == MOST_KNOWN
    assert all(len(key) == 32 for key in known)
    assert hashlib.sha256(tokens[-1].encode()).digest() in known


# watched files


def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = TokenFile(path)
    assert token.token() == ""
    assert not token.allows("")

    path.write_text("first\n")
    assert token.allows("first")
    path.with_suffix(".new").write_text("later")
    path.with_suffix(".new").rename(path)
    assert (token.token(), token.allows("first")) == ("later", False)


def test_a_file_above_its_limit_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 11)

    assert WatchedFile(tmp_path / "f", 10).content() == b""
    assert WatchedFile(tmp_path / "f", 11).content() == b"x" * 11
    assert WatchedFile(tmp_path, 11).content() == b""
