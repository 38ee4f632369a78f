"""What the operator's benchmark makes of its readings: quantiles, the table, the plot, and a network that is far away."""

from __future__ import annotations

import socket
import threading
import time
from xml.etree import ElementTree

from benchmarks.operator_changes import histogram, quantile
from benchmarks.operator_table import ROWS, picture, table
from benchmarks.slow_network import slow_network

SIZES = ("newObjects", "knownObjects", "objects", "objectsAtRest", "rolloutHoldMinutes", "apiLatencyMs",
         "hotObjectChangesPerSecond", "crowd")  # fmt: skip
MEASURED = dict.fromkeys((*SIZES, *(row.key for row in ROWS)), 12.0)


def test_a_quantile_is_read_within_its_bucket() -> None:
    turns = {0.1: 50.0, 0.2: 90.0, 0.5: 100.0, float("inf"): 100.0}

    assert quantile(turns, 0.5) == 0.1
    assert abs(quantile(turns, 0.7) - 0.15) < 1e-9
    assert abs(quantile(turns, 0.99) - 0.47) < 1e-9


def test_what_is_slower_than_every_bucket_counts_as_the_last() -> None:
    assert quantile({0.1: 1.0, 30.0: 2.0, float("inf"): 100.0}, 0.99) == 30.0


def test_only_what_came_after_the_first_reading_is_counted() -> None:
    def page(fast: float, slow: float) -> dict[str, float]:
        name = "tidegate_reconcile_seconds_bucket"
        return {f'{name}{{le="0.1"}}': fast, f'{name}{{le="+Inf"}}': slow, "tidegate_leader": 1.0}

    assert histogram(page(5, 6), page(7, 10)) == {0.1: 2.0, float("inf"): 4.0}


def test_the_table_has_a_row_for_each_figure_and_none_for_others() -> None:
    assert len(table(MEASURED).strip().splitlines()) == len(ROWS) + 2
    assert "at rest" not in table({"newObjects": 10, "newObjectsReadySeconds": 70.0})


def test_the_plot_is_an_image() -> None:
    assert ElementTree.fromstring(picture(MEASURED)).tag.endswith("svg")


def test_bytes_take_their_time_each_way() -> None:
    with socket.create_server(("127.0.0.1", 0)) as far:
        threading.Thread(target=echo, args=(far,), daemon=True).start()
        with (
            slow_network("127.0.0.1", far.getsockname()[1], 0.02) as port,
            socket.create_connection(("127.0.0.1", port), timeout=10) as near,
        ):
            near.sendall(b"first")
            assert near.recv(100) == b"first"
            began = time.monotonic()
            near.sendall(b"second")
            assert near.recv(100) == b"second"
            assert time.monotonic() - began >= 0.04


def echo(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        while piece := connection.recv(100):
            connection.sendall(piece)
