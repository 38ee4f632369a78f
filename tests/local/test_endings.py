"""A signal may come at any time: the run ends at once, leaves nothing behind, and its state serves the next one."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import yaml
from tests.local.local_run import Local, children

CODES = {signal.SIGINT: 130, signal.SIGTERM: 0, signal.SIGKILL: -signal.SIGKILL}
SIGNALS = pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)


@pytest.fixture
def silent_store() -> Iterator[tuple[int, threading.Event]]:
    """A port that takes connections and never says a word, and whether anybody came."""
    asked = threading.Event()
    kept = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            while True:
                try:
                    kept.append(server.accept())
                except OSError:
                    return
                asked.set()

        taking = threading.Thread(target=take)
        taking.start()
        yield server.getsockname()[1], asked
        server.shutdown(socket.SHUT_RDWR)
        taking.join()
    for connection, _ in kept:
        connection.close()


def ends(local: Local, number: signal.Signals) -> None:
    """The run ends by this signal with its code, soon, without a trace of itself or of a traceback."""
    assert local.process
    below = children(local.process.pid)
    began = time.monotonic()

    assert local.end(number) == CODES[number]

    assert time.monotonic() - began < 5
    local.wait_for_nothing(below, seconds=5)
    assert "Traceback" not in local.log()


@SIGNALS
def test_while_a_store_keeps_it_waiting(
    local: Local, silent_store: tuple[int, threading.Event], number: signal.Signals
) -> None:
    port, asked = silent_store
    keys = local.folder / "s3.env"
    keys.write_text(
        f"AWS_ACCESS_KEY_ID=AKIATEST\nAWS_SECRET_ACCESS_KEY=never shown\nAWS_ENDPOINT_URL=http://127.0.0.1:{port}\n"
    )
    bundle = {"uri": "s3://models/fraud/1", "secretRef": {"name": "s3"}}
    local.write_text(yaml.safe_dump(local.document("v1", bundle=bundle)))
    local.arguments = ("--secret", f"s3={keys}")
    local.spawn()
    assert asked.wait(20), local.log()

    ends(local, number)

    kept = [path for path in local.folder.rglob("*") if path.is_file() and path != keys]
    assert [path for path in kept if b"never shown" in path.read_bytes()] == []


def starting(local: Local) -> bool:
    return bool(local.pids("tidegate_runtime"))


def proving(local: Local) -> bool:
    return bool(local.rollout("phase") == "Proving")


@pytest.mark.parametrize(
    ("now", "number"),
    [
        (starting, signal.SIGINT),
        (starting, signal.SIGKILL),
        (proving, signal.SIGTERM),
        (proving, signal.SIGKILL),
    ],
)
def test_while_a_server_starts(local: Local, now: Callable[[Local], bool], number: signal.Signals) -> None:
    if now is proving:
        local.write("v1")
        local.start()
        local.write("v2", rollout={"steps": []})
    else:
        local.write("v2")
        local.spawn()
    local.until(lambda: now(local), now.__name__)

    ends(local, number)

    local.start()
    local.until(lambda: local.serving("v2"), "the next run of the same state serves it")
