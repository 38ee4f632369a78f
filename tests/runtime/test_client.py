"""`tidegate.Client` and a real server."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Running
from tests.runtime.slow_model import ENDLESS, sample, stepping

import tidegate
from tidegate.client import Client, NotConnected, RequestRefused, ServerFailed, TensorMetadata, TimedOut

Array = NDArray[Any]
ROWS = np.array([[1, 2, 3, 4], [1, 0, 0, 0]], np.float32)
THREADS = 4


@pytest.fixture(scope="module")
def fraud(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    """The usual server, with both its ports."""
    return serve(bundles(small.linear(), small.linear_samples()), "--revision", "r7", "--grpc-port", "0")


@pytest.fixture(scope="module")
def address(request: pytest.FixtureRequest, fraud: Running) -> str:
    return at(fraud, request.param)


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Client]:
    with tidegate.Client(f"{address}/") as client:
        yield client


def at(server: Running, scheme: str) -> str:
    return f"{scheme}://127.0.0.1:{server.grpc if scheme == 'grpc' else server.http}"


over_both = pytest.mark.parametrize("address", ["http", "grpc"], indirect=True, scope="module")
in_both = pytest.mark.parametrize("scheme", ["http", "grpc"])


@over_both
def test_outputs_come_by_name_with_the_version_that_gave_them(client: Client) -> None:
    prediction = client.infer("fraud", {"x": ROWS})

    np.testing.assert_array_equal(prediction["scores"], ROWS @ small.WEIGHTS)
    assert dict(prediction).keys() == {"scores", "label"}
    assert prediction["label"].tolist() == [2, 2]
    assert prediction["label"].dtype == np.int64
    assert (prediction.model, prediction.version, prediction.revision) == ("fraud", "v1", "r7")
    assert prediction.datatypes == {"scores": "FP32", "label": "INT64"}


@over_both
def test_only_the_outputs_that_were_named_are_answered(client: Client) -> None:
    assert list(client.infer("fraud", {"x": ROWS}, outputs=["label"])) == ["label"]


@over_both
def test_one_version_can_be_asked_by_its_name_or_its_revision(client: Client) -> None:
    for version in ("v1", "r7"):
        assert client.infer("fraud", {"x": ROWS}, version=version).version == "v1"
    with pytest.raises(RequestRefused, match="version 'v9' is not served here"):
        client.infer("fraud", {"x": ROWS}, version="v9")


@over_both
def test_what_is_wrong_with_a_request_is_said_in_the_words_of_the_server(client: Client) -> None:
    with pytest.raises(RequestRefused, match="input 'x': datatype FP32 is expected, not 'FP64'") as refused:
        client.infer("fraud", {"x": ROWS.astype(np.float64)})

    assert refused.value.status == 400


@over_both
def test_the_model_says_what_it_takes_and_gives(client: Client) -> None:
    metadata = client.metadata("fraud", version="r7")

    assert metadata.versions == ("v1",)
    assert metadata.inputs == {"x": TensorMetadata("x", "FP32", (-1, 4))}
    assert list(metadata.outputs) == ["scores", "label"]


@over_both
def test_a_server_and_its_model_say_whether_they_are_ready(client: Client) -> None:
    assert client.ready()
    assert client.ready("fraud")
    with pytest.raises(RequestRefused, match="another"):
        client.ready("another")


def test_a_port_of_another_protocol_is_told_by_a_hint(
    bundles: Callable[..., Path], serve: Callable[..., Running]
) -> None:
    server = serve(bundles(small.linear(), small.linear_samples()), "--grpc-port", "0")

    with pytest.raises(ServerFailed, match="is this the gRPC port"):
        Client(f"http://127.0.0.1:{server.grpc}").infer("fraud", {"x": ROWS})
    with pytest.raises(ServerFailed, match="the server there speaks http://"):
        Client(f"https://127.0.0.1:{server.http}").infer("fraud", {"x": ROWS})
    with pytest.raises(ServerFailed, match="is this the HTTP port"):
        Client(f"grpc://127.0.0.1:{server.http}").infer("fraud", {"x": ROWS})
    with pytest.raises(ServerFailed, match="the server there speaks grpc://"):
        Client(f"grpcs://127.0.0.1:{server.grpc}").infer("fraud", {"x": ROWS})


@over_both
def test_threads_share_a_client(client: Client) -> None:
    wrong: list[float] = []

    def ask(first: int) -> None:
        for number in range(first, first + 50):
            rows = np.full((1, 4), number, np.float32)
            found = client.infer("fraud", {"x": rows})["scores"]
            wrong.extend((found - rows @ small.WEIGHTS).ravel()[np.abs(found - rows @ small.WEIGHTS).ravel() > 1e-2])

    threads = [threading.Thread(target=ask, args=(1000 * index,)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


@pytest.mark.parametrize(
    ("element_type", "sent", "back"),
    [
        (TensorProto.STRING, np.array([["a", "ä€\0"]], object), np.array([["a", "ä€\0"]], object)),
        (TensorProto.BFLOAT16, np.array([[b"\x80\x3f", b"\x00\x40"]], "V2"), np.array([[0x3F80, 0x4000]], np.uint16)),
        (TensorProto.FLOAT16, np.array([[1.5, np.inf]], np.float16), np.array([[1.5, np.inf]], np.float16)),
    ],
    ids=["texts", "BF16", "FP16"],
)
@in_both
def test_types_that_numpy_or_json_lack_arrive(
    bundles: Callable[..., Path],
    serve: Callable[..., Running],
    element_type: int,
    sent: Array,
    back: Array,
    scheme: str,
) -> None:
    server = serve(bundles(small.cast(element_type)), "--grpc-port", "0")

    with Client(at(server, scheme)) as client:
        found = client.infer("fraud", {"x": sent})["y"]

    assert found.dtype == back.dtype
    assert found.tolist() == back.tolist()


@in_both
def test_a_request_that_was_given_too_little_time_is_ended(
    bundles: Callable[..., Path], serve: Callable[..., Running], scheme: str
) -> None:
    server = serve(bundles(stepping(), [sample()]), "--grpc-port", "0")

    with Client(at(server, scheme), timeout=0.3) as client, pytest.raises(TimedOut):
        client.infer("fraud", {"steps": np.array([ENDLESS])})


@in_both
def test_a_server_that_ends_loses_no_request_of_a_client_that_keeps_asking(
    bundles: Callable[..., Path], serve: Callable[..., Running], scheme: str
) -> None:
    server = serve(bundles(small.linear(), small.linear_samples()), "--grpc-port", "0", "--drain-delay", "300ms")
    became: Counter[str] = Counter()
    warm = threading.Barrier(THREADS + 1)

    with Client(at(server, scheme), retries=0) as client:

        def ask() -> None:
            client.infer("fraud", {"x": ROWS})
            warm.wait(20)
            while not became["ended"]:
                try:
                    client.infer("fraud", {"x": ROWS})
                    became["answered"] += 1
                except NotConnected:
                    became["ended"] += 1
                except Exception as lost:
                    became[repr(lost)] += 1
                    raise

        threads = [threading.Thread(target=ask) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        warm.wait(20)
        assert server.end() == 0
        for thread in threads:
            thread.join()

    assert set(became) == {"answered", "ended"}


@over_both
def test_the_command_asks_at_either_port(address: str) -> None:
    command = [str(Path(sys.executable).with_name("tidegate")), "predict", f"{address}/v2/models/fraud", "--quiet"]

    said = subprocess.run([*command, "--input", "x=[[1, 2, 3, 4]]"], capture_output=True, text=True, check=True).stdout

    assert json.loads(said)["label"] == [2]
