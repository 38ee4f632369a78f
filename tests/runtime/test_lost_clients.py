"""Clients that are gone, with or without a word: nothing of them stays, and nobody else notices."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.runtime import slow_model as slow
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Running
from tests.runtime.running_server import numbers
from tests.runtime.test_connections import BODY, PATH, closed, post, read_answers
from tests.runtime.test_overload import gauge, wait_for_gauge
from tests.waiting import wait_until

CONNECTIONS, IN_FLIGHT = "tidegate_connections", "tidegate_requests_in_flight"
LEFT = "tidegate_clients_left_total"
MEGABYTE = 1 << 20
KEEPALIVE_TIMER = "02"  # in /proc/net/tcp


@pytest.fixture(scope="module")
def strict(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    """A server with little patience."""
    return serve(
        bundles(small.linear()), "--header-timeout", "300ms", "--body-timeout", "300ms", "--idle-timeout", "600ms"
    )


@pytest.fixture(scope="module")
def narrow(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    """One run at a time, of at most 3 s."""
    return serve(
        bundles(slow.stepping(), [slow.sample()]), "--request-timeout", "3s", "--intra-op", str(os.cpu_count())
    )


def vanish(client: socket.socket) -> None:
    """From now on nothing that is sent to this socket arrives, and nothing is acknowledged: its machine is gone."""
    drop_everything = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    client.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HP", 1, ctypes.addressof(drop_everything)))


def serves_again(server: Running) -> None:
    """The only worker is free again, at the latest when the run's own time is over."""
    wait_until(lambda: server.infer(slow.request(slow.SHORT)).status == 200, "a run for the next client")


def ask_slowly(client: socket.socket, steps: int) -> None:
    body = b'{"inputs":[{"name":"steps","shape":[1],"datatype":"INT64","data":[%d]}]}' % steps
    client.sendall(post(body))


@pytest.mark.parametrize(
    "said",
    [b"", post()[:20], post()[:-5], post(b"", "transfer-encoding: chunked") + b"5\r\nab", post()],
    ids=["nothing", "half a header", "half a body", "half a chunk", "a request"],
)
def test_of_a_half_open_connection_nothing_stays(strict: Running, said: bytes) -> None:
    with strict.socket() as client:
        wait_for_gauge(strict, CONNECTIONS, 1)
        vanish(client)
        client.sendall(said)

        wait_for_gauge(strict, CONNECTIONS, 0)
    assert gauge(strict, IN_FLIGHT) == 0
    assert strict.infer(numbers([1.0, 2.0, 3.0, 4.0])).status == 200


def test_a_client_that_asks_and_asks_and_never_reads_is_let_go(strict: Running) -> None:
    large = post(BODY.replace(b"[1, 4]", b"[1000, 4]").replace(b"[1, 2, 3, 4]", b"[" + b"1.5," * 3999 + b"1.5]"))
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", strict.http))
        client.settimeout(0.2)
        before = strict.resident_memory
        with pytest.raises((TimeoutError, ConnectionError)):  # nobody takes it any more
            for _ in range(10_000):
                client.sendall(large)

        wait_for_gauge(strict, CONNECTIONS, 0)
    assert strict.resident_memory - before < 32 * MEGABYTE
    assert strict.infer(numbers([1.0, 2.0, 3.0, 4.0])).status == 200


@pytest.mark.parametrize("how", [socket.SHUT_WR, socket.SHUT_RDWR], ids=["its own side only", "both sides"])
def test_a_client_that_closes_before_its_answer_has_left_and_its_run_disturbs_nobody(narrow: Running, how: int) -> None:
    left = gauge(narrow, LEFT)
    with narrow.socket() as client:
        ask_slowly(client, slow.ENDLESS)
        wait_for_gauge(narrow, IN_FLIGHT, 1)
        client.shutdown(how)
        wait_for_gauge(narrow, LEFT, left + 1)
        assert closed(client)

    assert gauge(narrow, IN_FLIGHT) == 0
    serves_again(narrow)


def test_a_connection_reset_with_pipelined_requests_waiting_leaves_none_of_them(narrow: Running) -> None:
    with narrow.socket() as client:
        for _ in range(20):
            ask_slowly(client, slow.ENDLESS)
        wait_for_gauge(narrow, IN_FLIGHT, 1)  # one after another
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    wait_for_gauge(narrow, IN_FLIGHT, 0)
    serves_again(narrow)


def test_the_system_asks_a_silent_connection_whether_it_lives(fraud: Running) -> None:
    with fraud.socket() as client:
        client.sendall(post())
        read_answers(client, 1)
        ends = (f":{fraud.http:04X}", f":{client.getsockname()[1]:04X}")

        def asks() -> bool:
            rows = [line.split() for line in Path(f"/proc/{fraud.process.pid}/net/tcp").read_text().splitlines()[1:]]
            (timer,) = [row[5] for row in rows if row[1].endswith(ends[0]) and row[2].endswith(ends[1])]
            return timer.startswith(KEEPALIVE_TIMER)

        wait_until(asks, "its timer is that of keepalive")


def test_a_megabyte_in_chunks_of_one_byte_is_read_without_costing_more_than_itself(fraud: Running) -> None:
    body = BODY + b" " * MEGABYTE
    before = fraud.peak_memory
    with fraud.socket() as client:
        client.sendall(f"POST {PATH} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        client.sendall(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
        assert fraud.probe("/livez").status == 200
        assert read_answers(client, 1)[0][0] == 200

    assert fraud.peak_memory - before < 16 * MEGABYTE


def test_large_bodies_behind_a_long_run_are_not_all_taken_in(narrow: Running) -> None:
    padded = post(b'{"inputs":[{"name":"steps","shape":[1],"datatype":"INT64","data":[1]}]}' + b" " * MEGABYTE)
    with narrow.socket() as client:
        ask_slowly(client, slow.ENDLESS)
        wait_for_gauge(narrow, IN_FLIGHT, 1)
        before = narrow.peak_memory
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):  # what is not read fills the buffers of the system
            for _ in range(64):
                client.sendall(padded)
        assert narrow.peak_memory - before < 8 * MEGABYTE


def test_a_body_that_was_asked_for_and_never_comes_runs_out_of_time(strict: Running) -> None:
    head = post(BODY, "expect: 100-continue").split(b"\r\n\r\n", 1)[0] + b"\r\n\r\n"
    with strict.socket() as client:
        client.sendall(post() + head)  # one is answered, and then the other's body is asked for
        assert read_answers(client, 1)[0][0] == 200
        assert closed(client)
    wait_for_gauge(strict, CONNECTIONS, 0)
