"""TLS and mutual TLS, over HTTP and gRPC: who may connect, new certificates in use, limits, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.control_plane.pki import Authority
from tests.runtime import small_bundles as small
from tests.runtime.certificates import Files, replace
from tests.runtime.conftest import DEADLINE, Answer, Running
from tests.runtime.drain_clients import DRAINS, PATIENCE, Tally, all_clients, no_request_is_lost
from tests.runtime.grpc_client import ALONE, SERVICE
from tests.runtime.running_server import numbers
from tests.runtime.test_clients import REQUEST, metric
from tests.runtime.test_connections import BODY, closed, post, read_answers
from tests.runtime.test_start import failed
from tests.waiting import wait_until

Serve = Callable[..., Running]
FEWER = max(1, DRAINS // 4)  # the same drains without TLS are the many


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def folder(bundles: Callable[..., Path]) -> Path:
    return bundles(small.linear(), small.linear_samples())


@pytest.fixture(scope="module")
def server(files: Files, folder: Path, serve: Serve) -> Running:
    return serve(folder, *files.flags, "--grpc-port", "0")


@pytest.fixture(scope="module")
def mutual(files: Files, folder: Path, serve: Serve) -> Running:
    return serve(folder, *files.mutual, "--grpc-port", "0")


def over(server: Running, tls: ssl.SSLContext) -> ssl.SSLSocket:
    return tls.wrap_socket(server.socket(), server_hostname="localhost")


def ask(server: Running, tls: ssl.SSLContext, document: Any = None) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPSConnection("127.0.0.1", server.http, timeout=DEADLINE, context=tls)
    try:
        connection.request("POST", "/v2/models/fraud/infer", json.dumps(document or numbers([1, 2, 3, 4])))
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def served_by(server: Running, tls: ssl.SSLContext) -> str:
    """The serial number of the certificate that a new connection is shown."""
    with over(server, tls) as client:
        return str((client.getpeercert() or {})["serialNumber"])


def over_grpc(server: Running, files: Files, pair: tuple[Path, Path] | None = None) -> None:
    """One request on a channel of its own; raises grpc.RpcError."""
    key, chain = (None, None) if pair is None else (pair[1].read_bytes(), pair[0].read_bytes())
    trusting = grpc.ssl_channel_credentials(files.ca.read_bytes(), key, chain)
    with grpc.secure_channel(f"localhost:{server.grpc}", trusting, options=ALONE) as channel:
        channel.unary_unary(f"{SERVICE}/ModelInfer")(REQUEST, timeout=DEADLINE)


def test_requests_are_answered_over_tls(server: Running, files: Files) -> None:
    answer = ask(server, files.trusting())
    assert (answer.status, answer.json["outputs"][0]["data"]) == (200, [6, 7, 8])
    assert (metric(server, "tls_expiry_time_seconds ") or 0) > time.time()
    over_grpc(server, files)


def test_the_protocol_is_agreed_on_and_nothing_older_than_1_2(server: Running, files: Files) -> None:
    tls = files.trusting()
    tls.set_alpn_protocols(["h2", "http/1.1"])
    with over(server, tls) as client:
        assert (client.selected_alpn_protocol(), client.version()) == ("http/1.1", "TLSv1.3")
    old = files.trusting()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        over(server, old)


def test_who_speaks_no_tls_gets_no_answer_and_is_counted(server: Running) -> None:
    before = metric(server, "tls_handshakes_failed_total ") or 0
    with server.socket() as client:
        client.sendall(post())
        assert closed(client)
    wait_until(lambda: (metric(server, "tls_handshakes_failed_total ") or 0) > before, "it is counted")


def test_pipelined_and_large_requests_are_answered_over_tls(server: Running, files: Files) -> None:
    rows = [[1.0, 2.0, 3.0, 4.0]] * 1000
    large = json.dumps(numbers(*rows)).encode()
    with over(server, files.trusting()) as client:
        client.sendall(post() * 3 + post(large) + post())
        answers = read_answers(client, 5)
    assert [status for status, _, _ in answers] == [200] * 5
    assert len(json.loads(answers[3][2])["outputs"][1]["data"]) == 1000


def test_a_connection_that_is_to_be_closed_ends_cleanly_and_at_once(server: Running, files: Files) -> None:
    before = time.monotonic()
    with over(server, files.trusting()) as client:
        client.sendall(post(BODY, "connection: close"))
        content = b""
        while piece := client.recv(65536):  # raises where the end is not one of TLS
            content += piece
    assert content.startswith(b"HTTP/1.1 200 OK")
    assert time.monotonic() - before < DEADLINE / 2


def test_a_refused_body_does_not_reset_the_refusal_away(server: Running, files: Files) -> None:
    with over(server, files.trusting()) as client:
        client.sendall(b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 10000000\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(20):
                client.sendall(b"x" * 10_000)
        ((status, headers, _),) = read_answers(client, 1)
    assert (status, headers["connection"]) == (404, "close")


def test_with_an_authority_a_client_must_have_a_certificate_by_it(mutual: Running, files: Files) -> None:
    known, stranger = files.client("ana"), files.client("mallory", Authority.new())
    assert ask(mutual, files.trusting(known)).status == 200
    over_grpc(mutual, files, known)
    for pair in (None, stranger):
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            ask(mutual, files.trusting(pair))
        with pytest.raises(grpc.RpcError) as refused:
            over_grpc(mutual, files, pair)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_new_certificate_is_shown_from_the_next_connection_on_and_old_connections_go_on(
    tmp_path: Path, folder: Path, serve: Serve
) -> None:
    files = Files(tmp_path)
    server = serve(folder, *files.flags, "--grpc-port", "0")
    trusting = files.trusting()
    first = served_by(server, trusting)
    with over(server, trusting) as kept:
        kept.sendall(post())
        assert read_answers(kept, 1)[0][0] == 200
        files.renew()
        wait_until(lambda: served_by(server, trusting) != first, "the new certificate is shown", DEADLINE)
        kept.sendall(post())
        assert read_answers(kept, 1)[0][0] == 200
    presented = ssl.get_server_certificate(("127.0.0.1", server.grpc), timeout=DEADLINE)
    assert presented.strip() == files.certificate.read_text().strip()


def test_clients_of_an_authority_that_is_gone_are_refused_from_the_next_connection_on(
    tmp_path: Path, folder: Path, serve: Serve
) -> None:
    files, before, after = Files(tmp_path), Files(tmp_path / "before"), Files(tmp_path / "after")
    authorities = tmp_path / "clients.pem"
    authorities.write_bytes(before.ca.read_bytes())
    server = serve(folder, *files.flags, "--tls-client-ca", str(authorities), "--grpc-port", "0")
    old, new = before.client("old"), after.client("new")
    with_old, with_new = files.trusting(old), files.trusting(new)
    assert (let_in(server, with_old), let_in(server, with_new)) == (True, False)

    replace(authorities, after.ca.read_bytes())

    wait_until(lambda: let_in(server, with_new), "the new authority's clients are let in", DEADLINE)
    assert not let_in(server, with_old)
    over_grpc(server, files, new)
    with pytest.raises(grpc.RpcError):
        over_grpc(server, files, old)


def let_in(server: Running, tls: ssl.SSLContext) -> bool:
    try:
        return ask(server, tls).status == 200
    except (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected):
        return False


def test_a_broken_pair_is_told_and_the_good_one_stays(tmp_path: Path, folder: Path, serve: Serve) -> None:
    files = Files(tmp_path)
    server = serve(folder, *files.flags, "--grpc-port", "0")
    good = files.certificate.read_bytes()
    replace(files.certificate, b"half a certificate")
    wait_until(lambda: metric(server, 'reload_failing file="tls-cert"') == 1, "the metric says so", DEADLINE)
    assert ask(server, files.trusting()).status == 200
    over_grpc(server, files)
    replace(files.certificate, good)
    wait_until(lambda: metric(server, 'reload_failing file="tls-cert"') == 0, "it is mended", DEADLINE)


def test_files_that_cannot_be_used_at_the_start_end_it_with_a_reason(tmp_path: Path, folder: Path) -> None:
    files = Files(tmp_path)
    files.key.unlink()
    code, words = failed(folder, *files.flags)
    assert (code, words["reason"]) == (5, "TlsFilesUnusable")
    assert "tls.key: it cannot be read" in words["message"]


def test_connections_that_say_nothing_are_ended_and_count_until_then(files: Files, folder: Path, serve: Serve) -> None:
    server = serve(folder, *files.flags, "--header-timeout", "2s", "--max-connections", "3")
    quiet = [server.socket() for _ in range(3)]
    wait_until(lambda: metric(server, "connections ") == 3, "they are counted")
    with server.socket() as one_too_many:
        assert closed(one_too_many)
    for client in quiet:
        assert closed(client)
        client.close()
    wait_until(lambda: metric(server, "connections ") == 0, "their time is over")
    assert ask(server, files.trusting()).status == 200


def test_over_grpc_too_who_says_nothing_is_ended(files: Files, folder: Path, serve: Serve) -> None:
    server = serve(folder, *files.flags, "--grpc-port", "0", "--header-timeout", "1s")
    with socket.create_connection(("127.0.0.1", server.grpc), timeout=DEADLINE) as client:
        assert closed(client)


@pytest.mark.slow
def test_no_request_is_lost_when_a_server_ends_under_load(files: Files, folder: Path) -> None:
    no_request_is_lost(folder, partial(all_clients, tls=files.trusting()), *files.flags, drains=FEWER)


async def busy(files: Files, server: Running, tally: Tally) -> None:
    """Clients of gRPC that ask until they are refused a connection."""
    trusting = grpc.ssl_channel_credentials(files.ca.read_bytes())

    async def one() -> None:
        while True:
            async with grpc.aio.secure_channel(f"localhost:{server.grpc}", trusting, options=ALONE) as channel:
                for _ in range(20):
                    try:
                        await channel.unary_unary(f"{SERVICE}/ModelInfer")(REQUEST, timeout=PATIENCE)
                    except grpc.aio.AioRpcError as error:
                        if "failed to connect" not in (error.details() or ""):
                            tally.lost.append(f"{error.code()}: {error.details()}")
                        return
                    tally.answer()

    await asyncio.gather(*(one() for _ in range(8)))


@pytest.mark.slow
def test_over_grpc_no_request_is_lost_either(files: Files, folder: Path) -> None:
    no_request_is_lost(folder, partial(busy, files), *files.flags, "--grpc-port", "0", drains=FEWER)


def test_a_handshake_that_does_not_end_holds_the_end_up_no_longer_than_its_time(
    files: Files, folder: Path, serve: Serve
) -> None:
    server = serve(folder, *files.flags, "--header-timeout", "1s")
    with server.socket() as client:
        wait_until(lambda: metric(server, "connections ") == 1, "it is counted")
        assert server.end() == 0
        assert closed(client)
