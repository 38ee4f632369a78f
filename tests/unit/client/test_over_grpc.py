"""The client over gRPC: the same promises as over HTTP."""

from __future__ import annotations

import ssl
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tests.bundle.web import authority
from tests.unit.client import scripted_server as http
from tests.unit.client.scripted_grpc import LATER, Said, Silence, following
from tests.unit.client.test_retries import nobody

from tidegate.client import (
    Client,
    ClientError,
    NotConnected,
    NotTrusted,
    RequestRefused,
    ServerBusy,
    ServerFailed,
    TimedOut,
    Unanswered,
)
from tidegate.errors import Failed, Invalid
from tidegate.protocol.open_inference_pb2 import ModelInferRequest, ModelInferResponse, ServerReadyResponse

Code = grpc.StatusCode
X = {"x": np.array([[1, 2]], np.float32)}
BUSY = Said(Code.RESOURCE_EXHAUSTED, "the queue is full", LATER)
STUCK = Said(Code.UNAVAILABLE, "stuck", {"x-tidegate-revision": "r1", **LATER})


def answer(**fields: Any) -> ModelInferResponse:
    said = ModelInferResponse(model_name="m", model_version="v1", **fields)
    if not said.outputs:
        said.outputs.add(name="y", datatype="INT64", shape=[1])
        said.raw_output_contents.append(struct.pack("<q", 7))
    return said


def asked(url: str, **options: Any) -> int:
    with Client(url, **options) as client:
        return int(client.infer("m", X)["y"][0])


@pytest.mark.parametrize("busy", [BUSY, STUCK])
def test_a_call_that_a_busy_server_did_not_take_on_is_made_again(busy: Said) -> None:
    with following(busy, busy, answer()) as server:
        assert asked(server.url) == 7

    assert len(server.received) == 3


def test_what_is_busy_for_ever_ends_with_the_sentence_of_the_server() -> None:
    with following(BUSY) as server, pytest.raises(ServerBusy, match="the queue is full") as refused:
        asked(server.url, retries=2)

    assert len(server.received) == 3
    assert refused.value.status == 429


def test_where_nobody_listens_is_told_after_every_try_has_failed() -> None:
    with pytest.raises(NotConnected, match="Connection refused"):
        asked(nobody().replace("http://", "grpc://"), retries=2)


@pytest.mark.parametrize(
    "act", [Said(Code.UNAVAILABLE, "Socket closed"), Said(Code.CANCELLED, "by a proxy")], ids=["unavailable", "gone"]
)
def test_what_may_have_been_run_is_asked_again_only_where_that_is_allowed(act: Said) -> None:
    with following(act, answer()) as server:
        with pytest.raises(Unanswered, match=act.sentence):
            asked(server.url)
        assert len(server.received) == 1

        server.script = [act, answer()]
        assert asked(server.url, repeat=True) == 7


@pytest.mark.parametrize(
    ("act", "kind", "status"),
    [
        (Said(Code.INVALID_ARGUMENT, "input 'x': shape"), RequestRefused, 400),
        (Said(Code.UNAUTHENTICATED, "who are you?"), RequestRefused, 401),
        (Said(Code.PERMISSION_DENIED, "not for you"), RequestRefused, 403),
        (Said(Code.NOT_FOUND, "no such model"), RequestRefused, 404),
        (Said(Code.UNIMPLEMENTED, "no such method"), RequestRefused, 501),
        (Said(Code.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (9 vs. 8)"), RequestRefused, 429),
        (Said(Code.DEADLINE_EXCEEDED, "too long"), TimedOut, 504),
        (Said(Code.INTERNAL, "the model failed"), ServerFailed, 500),
        (Said(Code.UNKNOWN, "?"), ServerFailed, 500),
    ],
)
def test_every_other_refusal_is_final_and_says_what_the_server_said(
    act: Said, kind: type[ClientError], status: int
) -> None:
    with following(act) as server, pytest.raises(kind) as refused:
        asked(server.url, repeat=True)

    assert len(server.received) == 1
    assert (refused.value.what, refused.value.status) == (act.sentence, status)


def test_an_answer_that_does_not_come_in_time_is_not_waited_for_and_the_server_knows() -> None:
    with following(Silence()) as server, pytest.raises(TimedOut):
        asked(server.url, timeout=0.5, repeat=True)

    assert len(server.received) == 1
    assert 0 < server.seconds[0] < 1


def test_headers_are_the_metadata_of_every_call() -> None:
    with following(answer()) as server:
        asked(server.url, headers={"Authorization": "Bearer t"})

    assert server.metadata[0]["authorization"] == "Bearer t"


@pytest.mark.parametrize("name", ["x-bin", "X-Bin", "x y", ":path", "é", ""])
def test_a_header_whose_name_grpc_does_not_carry_is_refused_without_its_value(name: str) -> None:
    with pytest.raises(Invalid, match=f"header '{name.lower()}'") as refused:
        Client("grpc://h:1", headers={name: "secret"})

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("value", ["sécret", "secret\n", "\tsecret"])
def test_a_header_whose_value_grpc_does_not_carry_is_refused_without_it(value: str) -> None:
    with pytest.raises(Invalid, match="header 'x-token': gRPC carries one line of ASCII") as refused:
        Client("grpc://h:1", headers={"X-Token": value})

    assert "cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("scheme", "hint"), [("grpc", "is this the HTTP port?"), ("grpcs", "the server there speaks grpc://")]
)
def test_a_port_of_http_is_told_in_a_sentence_and_nothing_of_grpcs_own(scheme: str, hint: str) -> None:
    ask = "import sys; from tidegate.client import Client; Client(sys.argv[1]).metadata('m')"
    with http.following(http.Answer()) as server:
        url = f"{scheme}://localhost:{server.url.rpartition(':')[2]}"
        done = subprocess.run([sys.executable, "-c", ask, url], capture_output=True, text=True, check=False)

    first, *_, last = done.stderr.splitlines()
    assert first == "Traceback (most recent call last):"
    assert last.startswith("tidegate.client.errors.ServerFailed")
    assert last.endswith(hint)


def test_a_port_of_https_is_no_grpc_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca, chain = authority(tmp_path)
    (tmp_path / "ca.pem").write_text(ca)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    with http.following(http.Answer(), tls=tls) as server, pytest.raises(ServerFailed, match="is this the HTTP port"):
        asked(server.url.replace("https://", "grpcs://"))


def test_the_version_and_the_outputs_that_are_wanted_are_named() -> None:
    with following(answer()) as server, Client(server.url) as client:
        client.infer("m", X, outputs=["y"], version="r7")

    request = ModelInferRequest.FromString(server.received[0])
    assert (request.model_name, request.model_version) == ("m", "r7")
    assert [output.name for output in request.outputs] == ["y"]
    assert request.raw_input_contents[0] == X["x"].tobytes()


def test_typed_contents_of_other_servers_are_read() -> None:
    said = answer(
        outputs=[
            {"name": "y", "datatype": "INT64", "shape": [2], "contents": {"int64_contents": [7, -(2**60) - 1]}},
            {"name": "t", "datatype": "BYTES", "shape": [1, 1], "contents": {"bytes_contents": ["ä".encode()]}},
        ]
    )
    with following(said) as server, Client(server.url) as client:
        found = client.infer("m", X)

    assert found["y"].tolist() == [7, -(2**60) - 1]
    assert found["t"].tolist() == [["ä"]]
    assert found.revision == ""


@pytest.mark.parametrize(
    "said",
    [
        answer(outputs=[{"name": "y", "datatype": "FP9", "shape": [1]}], raw_output_contents=[b"a"]),
        answer(outputs=[{"name": "y", "datatype": "INT64", "shape": [2]}], raw_output_contents=[b"12345678"]),
        answer(
            outputs=[{"name": name, "datatype": "INT64", "shape": [1]} for name in "yz"],
            raw_output_contents=[b"12345678"],
        ),
        answer(outputs=[{"name": "y", "datatype": "FP16", "shape": [1]}]),
        b"\xff\xff",
    ],
    ids=["unknown type", "too short", "one missing", "no contents", "no message"],
)
def test_nonsense_is_no_answer(said: Any) -> None:
    with following(said) as server, pytest.raises(ServerFailed):
        asked(server.url)


@pytest.mark.parametrize(
    ("host", "trusted", "sentence"),
    [("localhost", True, ""), ("localhost", False, "nobody trusted vouches"), ("127.0.0.1", True, "for another host")],
)
def test_a_server_must_prove_who_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, trusted: bool, sentence: str
) -> None:
    ca, chain = authority(tmp_path)
    (tmp_path / "ca.pem").write_text(ca)
    pem = chain.read_bytes()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem") if trusted else "")

    with following(ServerReadyResponse(ready=True), tls=grpc.ssl_server_credentials([(pem, pem)])) as server:
        with Client(server.url.replace("127.0.0.1", host)) as client:
            if not sentence:
                assert client.ready()
                return
            with pytest.raises(NotTrusted, match=sentence):
                client.ready()
        assert server.received == []


@pytest.mark.parametrize("url", ["grpc://h", "grpc://h:1/path", "grpc://:1", "grpc://h:x", "grpc://"])
def test_other_addresses_are_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(Invalid, match="grpc://HOST:PORT"):
        Client(url)


def test_what_is_not_installed_is_told_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tidegate.client.over_grpc", raising=False)
    monkeypatch.setitem(sys.modules, "grpc", None)

    with pytest.raises(Failed, match=r"tidegate\[client-grpc\]"):
        Client("grpc://h:1")


def test_an_authority_that_is_no_file_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")

    with pytest.raises(Invalid, match="SSL_CERT_FILE"):
        Client("grpcs://h:1")
