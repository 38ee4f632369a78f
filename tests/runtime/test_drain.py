"""SIGTERM under load: no request is lost, and the process ends with 0 in its time.

`TIDEGATE_DRAINS=100 pytest tests/runtime/test_drain.py` is the long form.
"""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.runtime import slow_model as slow
from tests.runtime import small_bundles as small
from tests.runtime.conftest import DEADLINE, Answer, Running
from tests.runtime.drain_clients import REQUEST, all_clients, no_request_is_lost


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_no_request_is_lost_when_a_server_ends_under_load(bundles: Callable[..., Path], workers: str) -> None:
    no_request_is_lost(bundles(small.linear(), small.linear_samples()), all_clients, "--workers", workers)


@pytest.fixture
def slow_server(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Callable[..., Running]:
    def run(*flags: str) -> Running:
        return serve(bundles(slow.stepping(), [slow.sample()]), *flags)

    return run


class Late(threading.Thread):
    """A request that is under way while the server ends."""

    def __init__(self, server: Running, steps: int) -> None:
        super().__init__()
        self.answer: Answer | Exception | None = None
        self._server, self._steps = server, steps

    def run(self) -> None:
        try:
            self.answer = self._server.infer(slow.request(self._steps))
        except (OSError, http.client.HTTPException) as error:
            self.answer = error


def wait_for_one_in_flight(server: Running) -> None:
    until = time.monotonic() + DEADLINE
    while b"in_flight{" not in (body := server.probe("/metrics").body) or not any(
        line.startswith(b"tidegate_requests_in_flight{") and line.endswith(b" 1") for line in body.splitlines()
    ):
        assert time.monotonic() < until


def test_a_long_run_is_finished_and_answered(slow_server: Callable[..., Running]) -> None:
    server = slow_server()
    late = Late(server, 40 * slow.SHORT)
    late.start()
    wait_for_one_in_flight(server)
    assert server.end() == 0
    late.join(DEADLINE)
    assert isinstance(late.answer, Answer)
    assert late.answer.status == 200
    assert late.answer.headers["connection"] == "close"


def test_what_takes_longer_than_the_drain_is_cut_off_and_the_process_ends(slow_server: Callable[..., Running]) -> None:
    server = slow_server("--drain", "300ms")
    late = Late(server, slow.ENDLESS)
    late.start()
    wait_for_one_in_flight(server)
    before = time.monotonic()
    assert server.end() == 0
    assert time.monotonic() - before < 3
    late.join(DEADLINE)
    assert isinstance(late.answer, Exception)


def test_readiness_fails_at_once_while_requests_are_still_served(
    bundles: Callable[..., Path], serve: Callable[..., Running]
) -> None:
    server = serve(bundles(small.linear()), "--drain-delay", "60s")
    server.process.send_signal(signal.SIGTERM)
    until = time.monotonic() + DEADLINE
    while server.probe("/readyz").status != 503:
        assert time.monotonic() < until
    assert server.probe("/livez").status == 200
    assert server.get("/v2/health/ready").status == 503
    with server.socket() as client:
        client.sendall(REQUEST)
        head = client.recv(65536)
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in head


def test_a_body_that_is_still_arriving_is_waited_for(
    bundles: Callable[..., Path], serve: Callable[..., Running]
) -> None:
    server = serve(bundles(small.linear()), "--drain", "10s")
    with server.socket() as client:
        client.sendall(REQUEST[:-10])
        client_sent = server.get("/v2/health/live")  # by now the first part has been read, too
        assert client_sent.status == 200
        server.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + DEADLINE
        while not refused(server):
            assert time.monotonic() < until
        client.sendall(REQUEST[-10:])
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["model_name"] == "fraud"
    assert server.process.wait(DEADLINE) == 0


def refused(server: Running) -> bool:
    try:
        server.socket().close()
    except ConnectionRefusedError:
        return True
    return False
