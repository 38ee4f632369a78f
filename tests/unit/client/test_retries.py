"""Which requests a client makes again: only those that cannot have been run, unless it was told to."""

from __future__ import annotations

import json
import socket
from typing import Any

import numpy as np
import pytest
from tests.unit.client.scripted_server import Answer, CutShort, HangUp, Raw, Silence, following, said

from tidegate.client import (
    Client,
    ClientError,
    NotConnected,
    RequestRefused,
    ServerBusy,
    ServerFailed,
    TimedOut,
    Unanswered,
)
from tidegate.errors import Invalid, TidegateError

ONE = {"y": {"datatype": "INT64", "shape": [1], "data": [7]}}
X = {"x": np.array([[1, 2]], np.float32)}


def answer(**headers: str) -> Answer:
    outputs = [{"name": name, **output} for name, output in ONE.items()]
    document = {"model_name": "m", "model_version": "v1", "outputs": outputs}
    return Answer(200, json.dumps(document).encode(), headers)


def asked(url: str, **options: Any) -> int:
    with Client(url, **options) as client:
        return int(client.infer("m", X)["y"][0])


def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize(
    "busy",
    [
        said(429, "the queue is full", retry_after="0"),
        said(503, "later", retry_after="0"),
        said(503, "stuck", retry_after="0", x_tidegate_revision="r1"),
    ],
    ids=["429", "503 of a proxy that names a time", "503 of the server"],
)
def test_a_request_that_a_busy_server_did_not_take_on_is_made_again(busy: Answer) -> None:
    with following(busy, busy, answer()) as server:
        assert asked(server.url) == 7
        assert len(server.received) == 3
        assert server.connections == 1


def test_what_is_busy_for_ever_ends_with_the_sentence_of_the_server() -> None:
    with following(said(429, "the queue is full", retry_after="0")) as server, pytest.raises(ServerBusy) as refused:
        asked(server.url, retries=2)

    assert len(server.received) == 3
    assert str(refused.value) == f"{server.url}/v2/models/m/infer: the queue is full"
    assert (refused.value.status, refused.value.exit_code) == (429, 5)


def test_nobody_waits_longer_than_there_is_time() -> None:
    with following(said(429, "the queue is full", retry_after="3600")) as server, pytest.raises(ServerBusy):
        asked(server.url, timeout=10)

    assert len(server.received) == 1


def test_where_nobody_listens_is_told_after_every_try_has_failed() -> None:
    with pytest.raises(NotConnected, match="Connection refused"):
        asked(nobody(), retries=2)


@pytest.mark.parametrize("act", [HangUp(), CutShort()], ids=["before the answer", "within it"])
def test_a_connection_that_breaks_after_the_request_was_sent_is_not_tried_again(act: object) -> None:
    with following(act, answer()) as server, pytest.raises(Unanswered, match="broke"):
        asked(server.url)

    assert len(server.received) == 1


@pytest.mark.parametrize("status", [502, 503])
def test_a_proxy_that_lost_the_server_may_have_lost_it_during_the_run(status: int) -> None:
    lost = said(status, "upstream connect error or disconnect/reset before headers")
    with following(lost, answer()) as server, pytest.raises(Unanswered, match="upstream"):
        asked(server.url)

    assert len(server.received) == 1


@pytest.mark.parametrize("act", [HangUp(), CutShort(), said(502, "gone"), said(503, "gone")])
def test_what_may_have_been_run_is_asked_again_where_that_is_allowed(act: object) -> None:
    with following(act, answer()) as server:
        assert asked(server.url, repeat=True) == 7

    assert len(server.received) == 2


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (said(400, "input 'x': shape [1] does not fit"), RequestRefused),
        (said(404, "no such model"), RequestRefused),
        (said(307, "elsewhere", location="http://127.0.0.1:1/"), RequestRefused),
        (said(408, "the request's own timeout ran out"), TimedOut),
        (said(504, "too long"), TimedOut),
        (said(500, "the model failed"), ServerFailed),
        (Answer(501, b"not\nhere"), ServerFailed),
    ],
)
def test_every_other_refusal_is_final_and_says_what_the_server_said(act: Answer, kind: type[ClientError]) -> None:
    with following(act) as server, pytest.raises(kind) as refused:
        asked(server.url, repeat=True)

    assert len(server.received) == 1
    assert refused.value.status == act.status
    assert refused.value.what in act.body.decode()


def test_an_answer_that_does_not_come_in_time_is_not_waited_for() -> None:
    with following(Silence()) as server, pytest.raises(TimedOut, match="no answer in time"):
        asked(server.url, timeout=0.2, repeat=True)

    assert len(server.received) == 1


def test_the_server_is_told_how_long_the_client_will_wait() -> None:
    with following(said(429, "full", retry_after="0"), answer()) as server:
        asked(server.url, timeout=5)

    times = [told(request.body) for request in server.received]
    assert 0 < times[1] < times[0] <= 5_000_000


def told(body: bytes) -> int:
    document = json.loads(body.split(b'"timeout": ')[1].split(b"}")[0])
    return int(document)


def test_requests_share_a_connection_until_the_server_closes_it() -> None:
    with following(answer(), answer(connection="close"), answer()) as server, Client(server.url) as client:
        for _ in range(3):
            client.infer("m", X)

        assert server.connections == 2


def test_a_kept_connection_that_the_server_has_closed_meanwhile_costs_nothing() -> None:
    closing = Answer(200, answer().body, ends=True)
    with following(closing, answer()) as server, Client(server.url, retries=0) as client:
        client.infer("m", X)
        assert server.closed.wait(20)
        client.infer("m", X)

        assert (len(server.received), server.connections) == (2, 2)


@pytest.mark.parametrize(
    "body",
    [
        b"hello",
        b"[]",
        b"{}",
        b'{"model_name": "m", "outputs": [{"name": "y", "datatype": "FP9", "shape": [1], "data": [1]}]}',
        b'{"model_name": "m", "outputs": [{"name": "y", "datatype": "INT64", "shape": [2], "data": [1]}]}',
        b'{"model_name": "m", "outputs": [{"name": "y", "datatype": "BYTES", "shape": [1], "data": [1]}]}',
        b"[" * 100_000,
    ],
)
def test_nonsense_is_no_answer(body: bytes) -> None:
    with following(Answer(200, body)) as server, pytest.raises(ServerFailed, match="Open Inference Protocol"):
        asked(server.url)


@pytest.mark.parametrize(
    "sent", [b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0d", b"SSH-2.0-server\r\n"], ids=["HTTP/2, as gRPC", "SSH"]
)
def test_an_answer_of_another_protocol_is_none_and_is_not_shown(sent: bytes) -> None:
    with following(Raw(sent)) as server, pytest.raises(ServerFailed) as failed:
        asked(server.url, repeat=True)

    assert len(server.received) == 1
    assert str(failed.value) == f"{server.url}/v2/models/m/infer: the answer is not HTTP/1.1: is this the gRPC port?"


def test_headers_go_with_every_request() -> None:
    with following(answer()) as server:
        asked(server.url, headers={"Authorization": "Bearer t"})

    assert server.received[0].headers["authorization"] == "Bearer t"


@pytest.mark.parametrize("url", ["localhost:8080", "ws://localhost:9000", "http://", "http://h/?q", "file:///x"])
def test_an_address_that_is_none_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(Invalid, match="not the address of a server"):
        Client(url)


@pytest.mark.parametrize("url", ["http://anna:secret@h", "https://secret@h:1/team", "http://anna:sec/secret@h"])
def test_an_address_with_credentials_is_refused_without_showing_them(url: str) -> None:
    with pytest.raises(Invalid, match="holds no credentials: send them with the header authorization") as refused:
        Client(url)

    assert "secret" not in str(refused.value)


def test_whether_a_model_is_ready_is_a_question_that_does_not_fail() -> None:
    assert not Client(nobody()).ready()
    with following(Answer(), said(503, "loading"), said(404, "no such model")) as server, Client(server.url) as client:
        assert client.ready("m")
        assert not client.ready("m", version="v 1")
        with pytest.raises(RequestRefused, match="no such model"):
            client.ready("n")

    assert server.received[1].path == "/v2/models/m/versions/v%201/ready"


def test_what_cannot_be_sent_is_refused_with_the_name_of_the_input() -> None:
    with pytest.raises(Invalid, match="input 'x': arrays of complex128 cannot be sent"):
        Client("http://localhost:1").infer("m", {"x": np.zeros(1, complex)})


def test_every_failure_is_one_of_tidegate() -> None:
    assert issubclass(ClientError, TidegateError)
