"""Compressed request bodies: the public client's, broken ones, and a few kilobytes that hold gigabytes."""

from __future__ import annotations

import gzip
import http.client
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from tests.runtime import small_bundles as small
from tests.runtime.conftest import DEADLINE, Running

PATH = "/v2/models/fraud/infer"
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}).encode()
SCORES = [6.0, 7.0, 8.0]
PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}


@pytest.fixture(scope="module")
def narrow(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    """A server that takes bodies of at most one MiB."""
    return serve(bundles(small.linear()), "--max-body", "1MiB")


@pytest.mark.parametrize("encoding", list(PACK))
def test_a_compressed_body_is_read_as_if_it_were_plain(fraud: Running, encoding: str) -> None:
    answer = fraud.infer(PACK[encoding](BODY), headers={"Content-Encoding": encoding.upper()})
    assert answer.status == 200
    assert answer.json["outputs"][0]["data"] == SCORES


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("rows", [1, 1024])
def test_the_public_client_may_compress_what_it_sends(fraud: Running, algorithm: str, binary: bool, rows: int) -> None:
    x = np.random.default_rng(0).standard_normal((rows, 4)).astype(np.float32)
    tensor = triton.InferInput("x", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x, binary_data=binary)
    client = triton.InferenceServerClient(f"127.0.0.1:{fraud.http}")
    try:
        plain = client.infer("fraud", [tensor])
        packed = client.infer(
            "fraud", [tensor], request_compression_algorithm=algorithm, response_compression_algorithm=algorithm
        )
    finally:
        client.close()
    assert packed.as_numpy("scores").tobytes() == plain.as_numpy("scores").tobytes()


def test_a_compressed_body_may_come_in_chunks(fraud: Running) -> None:
    packed = gzip.compress(BODY)
    connection = http.client.HTTPConnection("127.0.0.1", fraud.http, timeout=DEADLINE)
    try:
        pieces: Iterator[bytes] = (packed[at : at + 1] for at in range(len(packed)))
        connection.request("POST", PATH, pieces, {"Content-Encoding": "gzip"}, encode_chunked=True)
        assert json.loads(connection.getresponse().read())["outputs"][0]["data"] == SCORES
    finally:
        connection.close()


def test_an_answer_is_not_compressed_whatever_the_client_accepts(fraud: Running) -> None:
    answer = fraud.infer(BODY, headers={"Accept-Encoding": "gzip, deflate, br"})
    assert "content-encoding" not in answer.headers
    assert answer.json["outputs"][0]["data"] == SCORES


@pytest.mark.parametrize(
    ("body", "encoding", "sentence"),
    [
        (b"no such thing", "gzip", "the body is not valid gzip"),
        (zlib.compress(BODY), "gzip", "the body is not valid gzip"),
        (gzip.compress(BODY), "deflate", "the body is not valid deflate"),
        (b"", "gzip", "the body ends before its gzip stream does"),
        (gzip.compress(BODY)[:-1], "gzip", "the body ends before its gzip stream does"),
        (zlib.compress(BODY)[:20], "deflate", "the body ends before its deflate stream does"),
        (gzip.compress(BODY) + b"{}", "gzip", "the body goes on after the end of its gzip stream"),
        (gzip.compress(BODY)[:-8] + bytes(8), "gzip", "the body is not valid gzip"),
        (gzip.compress(b"{"), "gzip", "the body is not valid JSON"),
    ],
)
def test_a_body_that_cannot_be_unpacked_is_refused_with_a_sentence(
    fraud: Running, body: bytes, encoding: str, sentence: str
) -> None:
    answer = fraud.infer(body, headers={"Content-Encoding": encoding})
    assert answer.status == 400
    assert answer.error.startswith(sentence)


def test_a_body_that_cannot_be_unpacked_is_counted_like_every_other_refusal(fraud: Running) -> None:
    def refusals() -> int:
        (entry,) = fraud.get("/v2/models/stats").json["model_stats"]
        return int(entry["inference_stats"]["fail"]["count"])

    before = refusals()
    assert fraud.infer(b"no such thing", headers={"Content-Encoding": "gzip"}).status == 400
    assert fraud.ask("POST", "/v1/models/fraud:predict", b"nor this", {"Content-Encoding": "gzip"}).status == 400
    assert refusals() == before + 2


def test_a_body_that_nobody_reads_is_not_unpacked(fraud: Running) -> None:
    answer = fraud.ask("GET", "/v2/models/fraud", b"no such thing", {"Content-Encoding": "gzip"})
    assert (answer.status, answer.json["name"]) == (200, "fraud")


def test_an_unknown_encoding_is_refused_with_what_is_accepted(fraud: Running) -> None:
    answer = fraud.infer(BODY, headers={"Content-Encoding": "gzip, br"})
    assert (answer.status, answer.error) == (415, "this content-encoding is not accepted: send gzip, deflate or plain")


def bomb(size: int) -> bytes:
    """A gzip stream of `size` zeros."""
    stream = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    block = bytes(1 << 20)
    return b"".join(stream.compress(block) for _ in range(size >> 20)) + stream.flush()


def test_a_bomb_is_refused_before_it_takes_memory_and_the_connection_goes_on(narrow: Running) -> None:
    headers = {"Content-Encoding": "gzip"}
    connection = http.client.HTTPConnection("127.0.0.1", narrow.http, timeout=DEADLINE)
    try:
        before = narrow.peak_memory
        connection.request("POST", PATH, bomb(256 << 20), headers)
        response = connection.getresponse()
        assert response.status == 413
        assert json.loads(response.read()) == {"error": "the body is larger than 1048576 bytes when it is unpacked"}
        assert narrow.peak_memory - before < 8 << 20
        connection.request("POST", PATH, gzip.compress(BODY), headers)
        assert connection.getresponse().status == 200
    finally:
        connection.close()
