"""What is asked of a Prometheus, what comes of its answers, and of everything that is none."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.control_plane.pki import make_pki
from tests.unit.cluster import virtual_time
from tests.unit.cluster.fake_prometheus import Answer, FakePrometheus, Reply, of_kind, refusal, scalar, serving, vector

from tidegate.cluster import prometheus as client
from tidegate.cluster.prometheus import Prometheus, servers
from tidegate.cluster.prometheus_answer import (
    PrometheusDenied,
    PrometheusDown,
    PrometheusError,
    QueryRefused,
    UnknownServer,
)

T = TypeVar("T")
Ask = Callable[[Prometheus], Awaitable[T]]
RATE = "rate(up[5m])"


def always(reply: Reply) -> Answer:
    return lambda _: reply


def told(reply: Reply, ask: Ask[T], credentials: Path | None = None) -> tuple[T, FakePrometheus]:
    """What a question gets from a server that always replies so, and the server."""

    async def main() -> tuple[T, FakePrometheus]:
        async with serving(always(reply)) as fake:
            prometheus = Prometheus({"main": f"http://127.0.0.1:{fake.port}"}, credentials)
            try:
                return await ask(prometheus), fake
            finally:
                await prometheus.close()

    return asyncio.run(main())


def number(prometheus: Prometheus) -> Awaitable[float | None]:
    return prometheus.query("main", RATE)


def error(reply: Reply, credentials: Path | None = None) -> PrometheusError:
    with pytest.raises(PrometheusError) as raised:
        told(reply, number, credentials)
    assert raised.value.where == "Prometheus main"
    return raised.value


# Numbers.


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        (vector(({"job": "x"}, "0.25")), 0.25),
        (vector(({}, "-1e-3")), -0.001),
        (scalar("17"), 17.0),
        (vector(), None),
        (vector(({}, "NaN")), None),
        (vector(({}, "+Inf")), None),
        (vector(({}, "-Inf")), None),
        (scalar("NaN"), None),
    ],
)
def test_a_query_gives_its_one_number_or_nothing(reply: Reply, value: float | None) -> None:
    assert told(reply, number)[0] == value


def test_what_is_asked_is_an_instant_query_of_fresh_samples_within_a_time() -> None:
    _, fake = told(scalar("1"), number)

    assert fake.paths == ["POST /api/v1/query"]
    assert fake.asked == [{"query": RATE, "lookback_delta": "60s", "timeout": "5s"}]


def test_a_path_of_the_address_stays_in_front() -> None:
    async def main() -> list[str]:
        async with serving(always(scalar("1"))) as fake:
            prometheus = Prometheus(servers(f"main=http://127.0.0.1:{fake.port}/tenant/a/"))
            await number(prometheus)
            await prometheus.close()
            return fake.paths

    assert asyncio.run(main()) == ["POST /tenant/a/api/v1/query"]


# No numbers.


@pytest.mark.parametrize("status", [400, 422])
def test_the_servers_own_words_about_a_query_become_the_sentence(status: int) -> None:
    refused = error(
        refusal(status, "bad_data", 'invalid parameter "query": 1:5: parse error: unclosed\nleft \x07 parenthesis')
    )

    assert isinstance(refused, QueryRefused)
    assert str(refused) == "Prometheus main: 1:5: parse error: unclosed left  parenthesis"


def test_long_words_are_cut() -> None:
    assert len(error(refusal(400, "bad_data", "word " * 1000)).what) == 200


@pytest.mark.parametrize("body", ["<html>", "[]", '{"error": 5}', ""])
def test_a_refusal_without_words_has_a_sentence_too(body: str) -> None:
    refused = error((422, body or b" "))

    assert refused.what in ("the query is refused (422)", "5")


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (vector(({"pod": "a"}, "1"), ({"pod": "b"}, "2")), "its result has 2 series: put sum() or max() around it"),
        (of_kind("string", [1, "x"]), "its result is a string, not a number"),
        (of_kind("matrix", []), "its result is a matrix, not a number"),
    ],
)
def test_a_result_that_is_not_one_number_is_refused_with_advice(reply: Reply, sentence: str) -> None:
    refused = error(reply)

    assert isinstance(refused, QueryRefused)
    assert refused.what == sentence


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        ((500, ""), "it answers 500"),
        (refusal(503, "timeout", "query timed out"), "it answers 503: query timed out"),
        ((404, "404 page not found"), "it answers 404"),
        ((302, ""), "it answers 302: redirects are not followed"),
        ((200, "<html>"), "its answer makes no sense: is it a Prometheus?"),
        ((200, {"status": "success"}), "its answer makes no sense: is it a Prometheus?"),
        (of_kind("vector", [{"metric": {}, "value": [1, 2]}]), "its answer makes no sense: is it a Prometheus?"),
        (of_kind("vector", [{"metric": [], "value": [1, "2"]}]), "its answer makes no sense: is it a Prometheus?"),
        (of_kind("vector", [{"metric": {}, "value": [1, "two"]}]), "its answer makes no sense: is it a Prometheus?"),
        (of_kind("vector", 5), "its answer makes no sense: is it a Prometheus?"),
        (of_kind("scalar", "5"), "its answer makes no sense: is it a Prometheus?"),
    ],
)
def test_a_server_in_trouble_is_down(reply: Reply, sentence: str) -> None:
    down = error(reply)

    assert isinstance(down, PrometheusDown)
    assert down.what == sentence


def test_a_name_that_no_setting_knows_is_said_with_those_that_are_known() -> None:
    with pytest.raises(UnknownServer) as raised:
        asyncio.run(Prometheus(servers("main=http://a,other=https://b")).query("staging", "1"))

    assert str(raised.value) == "no Prometheus is called staging: the operator's --prometheus names main, other"
    with pytest.raises(UnknownServer, match="names none"):
        asyncio.run(Prometheus({}).samples("main", "shop", "fraud", ["r1"]))


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_where_nobody_listens_the_sentence_holds_no_address() -> None:
    async def main(url: str) -> None:
        prometheus = Prometheus({"main": url})
        try:
            await number(prometheus)
        finally:
            await prometheus.close()

    with pytest.raises(PrometheusDown) as raised:
        asyncio.run(main(f"http://127.0.0.1:{free_port()}"))
    assert str(raised.value) == "Prometheus main: Connection refused"


def test_a_name_that_cannot_be_resolved_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    async def main() -> None:
        prometheus = Prometheus({"main": "http://prometheus.example:9090"})
        try:
            await number(prometheus)
        finally:
            await prometheus.close()

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(PrometheusDown, match="its name is not known here"):
        asyncio.run(main())


def test_an_answer_that_breaks_off_is_none() -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"status":')
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(cut, "127.0.0.1", 0)
        prometheus = Prometheus({"main": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"})
        try:
            await number(prometheus)
        finally:
            await prometheus.close()
            server.close()

    with pytest.raises(PrometheusDown, match="it breaks off"):
        asyncio.run(main())


def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_LIMIT", 2**20)

    assert error((200, b" " * (2**20 + 1))).what == "its answer is over 1 MiB"


def test_a_server_that_takes_its_time_is_left_after_five_seconds_and_then_alone_for_five() -> None:
    async def main() -> list[float]:
        async with serving(always(scalar("1"))) as fake:
            prometheus = Prometheus({"main": f"http://127.0.0.1:{fake.port}"}, clock=virtual_time.now)
            fake.silent = True
            took: list[float] = []
            for _ in range(3):
                began = virtual_time.now()
                with pytest.raises(PrometheusDown, match="no answer within 5 s"):
                    await number(prometheus)
                took.append(round(virtual_time.now() - began))
            fake.silent = False
            await asyncio.sleep(client.REST_SECONDS)
            assert await number(prometheus) == 1.0
            assert len(fake.asked) == 2
            await prometheus.close()
            return took

    assert virtual_time.run(main()) == [5, 0, 0]


def test_a_refused_query_is_no_reason_to_leave_a_server_alone() -> None:
    async def main() -> int:
        async with serving(always(refusal(422, "execution", "many-to-many"))) as fake:
            prometheus = Prometheus({"main": f"http://127.0.0.1:{fake.port}"})
            for _ in range(3):
                with pytest.raises(QueryRefused):
                    await number(prometheus)
            await prometheus.close()
            return len(fake.asked)

    assert asyncio.run(main()) == 3


def test_questions_beyond_the_room_wait_and_their_wait_is_not_the_servers_fault() -> None:
    async def main() -> int:
        async with serving(always(scalar("1"))) as fake:
            prometheus = Prometheus({"main": f"http://127.0.0.1:{fake.port}"})
            found = await asyncio.gather(*(number(prometheus) for _ in range(4 * client.AT_ONCE)))
            await prometheus.close()
            return len([value for value in found if value == 1.0])

    assert asyncio.run(main()) == 4 * client.AT_ONCE


# Credentials.


def test_a_token_is_read_afresh_each_time(tmp_path: Path) -> None:
    async def twice(prometheus: Prometheus) -> None:
        for token in ("first", "second"):
            (tmp_path / "main.token").write_text(f"{token}\n")
            await number(prometheus)

    _, fake = told(scalar("1"), twice, tmp_path)

    assert [headers["Authorization"] for headers in fake.headers] == ["Bearer first", "Bearer second"]


def test_name_and_password_are_sent_as_basic_authentication(tmp_path: Path) -> None:
    (tmp_path / "main.username").write_text("tidegate")
    (tmp_path / "main.password").write_text("sésame\n")

    _, fake = told(scalar("1"), number, tmp_path)

    scheme, _, text = fake.headers[0]["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(text).decode()) == ("Basic", "tidegate:sésame")


def test_without_files_nothing_is_sent_and_other_servers_credentials_never_are(tmp_path: Path) -> None:
    (tmp_path / "other.token").write_text("secret")

    _, fake = told(scalar("1"), number, tmp_path)

    assert "Authorization" not in fake.headers[0]


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_are_not_accepted_are_said_so(status: int) -> None:
    denied = error((status, ""))

    assert isinstance(denied, PrometheusDenied)
    assert denied.what == f"it does not accept the operator's credentials ({status})"


def test_credentials_that_cannot_be_used_are_named_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "main.token").write_bytes(b"\xff\xfe")
    assert error(scalar("1"), tmp_path).what == "its credentials cannot be read: main.token"

    (tmp_path / "main.token").write_text("two\nlines")
    assert error(scalar("1"), tmp_path).what == "its credentials are not one line of text: main.token"


# Certificates.


def ask_over_tls(folder: Path, credentials: Path) -> float | None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "server.crt", folder / "server.key")

    async def main() -> float | None:
        async with serving(always(scalar("1")), tls) as fake:
            prometheus = Prometheus({"main": f"https://127.0.0.1:{fake.port}"}, credentials)
            try:
                return await number(prometheus)
            finally:
                await prometheus.close()

    return asyncio.run(main())


def test_a_certificate_is_verified_with_the_authority_of_the_settings(tmp_path: Path) -> None:
    pki, credentials = make_pki(tmp_path / "pki", []), tmp_path / "credentials"
    credentials.mkdir()
    with pytest.raises(PrometheusDown, match="its certificate cannot be verified"):
        ask_over_tls(pki.folder, credentials)

    (credentials / "main.ca.crt").write_bytes(pki.ca.read_bytes())
    assert ask_over_tls(pki.folder, credentials) == 1.0

    (credentials / "main.ca.crt").write_text("no certificate")
    with pytest.raises(PrometheusDenied, match="the certificate of its authority is not PEM"):
        ask_over_tls(pki.folder, credentials)


# Settings.


def test_servers_are_told_by_name_and_address() -> None:
    found = servers(" main=http://prometheus.monitoring:9090/ , other=https://[fd00::1]:443/prom ")

    assert found == {"main": "http://prometheus.monitoring:9090", "other": "https://[fd00::1]:443/prom"}
    assert servers("") == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("http://a", "write NAME=URL"),
        ("Main=http://a", "write NAME=URL"),
        ("main=http://a,main=http://b", "each name once"),
        ("main=ftp://a", "main: write http://HOST"),
        ("main=http://", "main: write http://HOST"),
        ("main=http://a?x=1", "main: write http://HOST"),
        ("main=http://a#x", "main: write http://HOST"),
        ("main=http://user:secret@a", "main: credentials belong into files"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused_without_repeating_it(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as raised:
        servers(text)
    assert "secret" not in str(raised.value)
