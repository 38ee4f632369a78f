"""Tokens with scopes, over HTTP and gRPC: who gets in, what each may do, and a file that changes meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.runtime import small_bundles as small
from tests.runtime.certificates import replace
from tests.runtime.conftest import DEADLINE, Running
from tests.runtime.grpc_client import SERVICE, Client, refused, typed
from tests.runtime.known_clients import TOKENS, bearer, lines
from tests.runtime.running_server import numbers
from tests.runtime.test_connections import BODY, closed, post, read_answers
from tests.runtime.test_start import failed
from tests.waiting import wait_until

REQUEST = typed("x", "FP32", [1, 4], fp32_contents=[1, 2, 3, 4]).SerializeToString()
OPEN = (
    "/", "/v2/health/live", "/v2/health/ready", "/v2/models/fraud/ready", "/v2/models/fraud/versions/v1/ready",
    "/v1/models/fraud",
)  # fmt: skip
METADATA = ("/v2", "/v2/models/fraud", "/v2/models/fraud/config", "/v2/models/fraud/stats", "/v2/models/stats",
            "/v1/models", "/v1/models/fraud/metadata")  # fmt: skip


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secret") / "clients"
    path.write_bytes(lines("ana", "ben", "eve"))
    return path


@pytest.fixture(scope="module")
def server(
    clients: Path, bundles: Callable[..., Path], serve: Callable[..., Running], grpc_on: tuple[str, ...]
) -> Running:
    return serve(bundles(small.linear(), small.linear_samples()), "--auth-file", str(clients), *grpc_on)


@pytest.mark.parametrize("path", OPEN)
def test_whether_it_lives_and_is_ready_is_told_to_everybody(server: Running, path: str) -> None:
    assert server.get(path).status == 200


@pytest.mark.parametrize("path", METADATA)
def test_what_is_served_needs_a_token_with_that_scope(server: Running, path: str) -> None:
    assert [server.ask("GET", path, None, headers).status for headers in ({}, bearer("ana"), bearer("ben"))] == [
        401, 403, 200,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/models/fraud/infer", numbers([1, 2, 3, 4])),
        ("/v2/models/fraud/versions/v1/infer", numbers([1, 2, 3, 4])),
        ("/v1/models/fraud:predict", {"instances": [[1, 2, 3, 4]]}),
    ],
)
def test_running_the_model_needs_a_token_with_that_scope(server: Running, path: str, body: Any) -> None:
    content = json.dumps(body).encode()
    answers = [server.ask("POST", path, content, headers) for headers in ({}, bearer("ben"), bearer("ana"))]
    assert [answer.status for answer in answers] == [401, 403, 200]
    assert answers[0].headers["www-authenticate"] == "Bearer"
    assert answers[0].error == "a token is needed: send the header authorization: Bearer TOKEN"
    assert answers[1].error == "client 'ben' lacks the scope infer: it has metadata"


def test_explaining_has_a_scope_of_its_own(server: Running) -> None:
    asked = [server.ask("POST", "/v1/models/fraud:explain", b"{}", bearer(name)).status for name in ("ana", "eve")]
    assert asked == [403, 404]


def test_a_token_that_nobody_knows_is_told_so_and_not_shown(server: Running) -> None:
    answer = server.infer(numbers([1, 2, 3, 4]), headers={"authorization": "Bearer hunter2"})
    assert (answer.status, answer.error) == (401, "the token in the header authorization is not known here")


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/other/infer", "/nowhere", "/v2/repository/index"])
def test_a_stranger_is_not_told_what_else_is_served_here(server: Running, path: str) -> None:
    stranger = server.get(path)
    assert (stranger.status, "fraud" in stranger.error) == (401, False)
    assert server.ask("GET", path, None, bearer("ana")).status in (400, 404)


@pytest.mark.parametrize("asked", [b"\n\x05other", b"\n\x05fraud\x12\x02v9"])
def test_a_stranger_over_grpc_is_not_told_either(server: Running, asked: bytes) -> None:
    with Client(server.grpc) as client:
        stranger = refused(lambda: client.ask(f"{SERVICE}/ModelReady", asked))
    assert (stranger.code, stranger.sentence) == ("NOT_FOUND", "no such model or version here")


def test_a_strangers_body_is_not_asked_for(server: Running) -> None:
    with server.socket() as client:
        client.sendall(b"POST /v2/models/fraud/infer HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 50\r\n\r\n")
        ((status, headers, _),) = read_answers(client, 1)
        assert (status, headers["connection"]) == (401, "close")
        assert closed(client)


def test_a_connection_is_kept_after_a_refusal_and_each_request_shows_its_own_token(server: Running) -> None:
    with_token = post(BODY, f"authorization: Bearer {TOKENS['ana']}")
    with server.socket() as client:
        client.sendall(post() + with_token + post())
        assert [status for status, _, _ in read_answers(client, 3)] == [401, 200, 401]


def test_over_grpc_the_same_holds(server: Running) -> None:
    with Client(server.grpc) as client:

        def ask(method: str, name: str = "", raw: bytes = b"") -> bytes:
            return client.ask(f"{SERVICE}/{method}", raw, metadata=tuple(bearer(name).items()) if name else ())

        for method in ("ServerLive", "ServerReady", "ModelReady"):
            assert ask(method, raw=b"\n\x05fraud" if method == "ModelReady" else b"") == b"\x08\x01"
        assert client.ask("/grpc.health.v1.Health/Check", b"") == b"\x08\x01"
        assert ask("ServerMetadata", "ben")
        assert ask("ModelInfer", "ana", REQUEST)
        stranger = refused(lambda: ask("ModelInfer", raw=REQUEST))
        assert (stranger.code, stranger.sentence) == (
            "UNAUTHENTICATED", "a token is needed: send the header authorization: Bearer TOKEN",
        )  # fmt: skip
        other = refused(lambda: ask("ModelInfer", "ben", REQUEST))
        assert (other.code, other.sentence) == (
            "PERMISSION_DENIED", "client 'ben' lacks the scope infer: it has metadata",
        )  # fmt: skip
        assert refused(lambda: ask("ModelMetadata", "ana")).code == "PERMISSION_DENIED"


def test_before_the_model_is_there_a_stranger_gets_no_further(
    clients: Path, bundles: Callable[..., Path], serve: Callable[..., Running]
) -> None:
    server = serve(bundles(small.linear()), "--auth-file", str(clients), ready=False)
    assert server.get("/v2/models/fraud").status == 401
    server.wait_ready()


def metric(server: Running, line: str) -> float | None:
    """The value on the line of /metrics that has this name and this label."""
    name, _, label = line.partition(" ")
    for found in server.probe("/metrics").body.decode().splitlines():
        if found.startswith(f"tidegate_{name}{{") and label in found:
            return float(found.rpartition(" ")[2])
    return None


def test_a_changed_file_is_taken_up_and_a_broken_one_is_told_and_not(
    tmp_path: Path, bundles: Callable[..., Path], serve: Callable[..., Running]
) -> None:
    path = tmp_path / "clients"
    path.write_bytes(lines("ana"))
    server = serve(bundles(small.linear()), "--auth-file", str(path))

    def status(name: str) -> int:
        return server.infer(numbers([1, 2, 3, 4]), headers=bearer(name)).status

    assert (status("ana"), status("eve")) == (200, 401)
    replace(path, lines("eve"))
    wait_until(lambda: status("eve") == 200, "the new client is let in", DEADLINE)
    assert status("ana") == 401
    assert metric(server, 'reload_failing file="auth-file"') == 0

    replace(path, b"eve secret infer\n")
    wait_until(lambda: metric(server, 'reload_failing file="auth-file"') == 1, "the metric says so", DEADLINE)
    assert status("eve") == 200
    assert (metric(server, 'access_refused_total code="401"') or 0) >= 2
    assert server.end() == 0
    assert server.process.stderr is not None
    log = "".join(server.lines) + server.process.stderr.read()
    assert "clients:1: the second word is not a SHA-256 in hex" in log
    for secret in ("secret infer", TOKENS["ana"], TOKENS["eve"]):
        assert secret not in log


@pytest.mark.parametrize("content", [None, b"ana x infer\n"])
def test_a_file_that_cannot_be_used_at_the_start_ends_it_with_a_reason(
    tmp_path: Path, bundles: Callable[..., Path], content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "clients").write_bytes(content)
    code, words = failed(bundles(small.linear()), "--auth-file", str(tmp_path / "clients"))
    assert (code, words["reason"]) == (5, "AuthFileUnusable")
    assert ("cannot be read" if content is None else "clients:1: ") in words["message"]


def test_without_the_flag_a_token_means_nothing(bundles: Callable[..., Path], serve: Callable[..., Running]) -> None:
    server = serve(bundles(small.linear()))
    assert server.infer(numbers([1, 2, 3, 4]), headers={"authorization": "Bearer x"}).status == 200
    assert metric(server, "access_refused_total ") is None
