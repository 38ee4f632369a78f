"""An API server that goes away and comes back on the same data, and an operator that is started again whenever it ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.operating import Operator
from tests.control_plane import commands, programs
from tests.control_plane.plane import Plane, answers
from tests.waiting import wait_until

LOST_THE_LEASE = 1
LOOK_SECONDS = 0.1


@contextmanager
def frozen(plane: Plane) -> Iterator[None]:
    """Connections stay open and nothing is answered."""
    server = plane.part(programs.API_SERVER)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)
        until_back(plane)


@contextmanager
def gone(plane: Plane) -> Iterator[None]:
    """Connections break off and are refused; then another process answers for the same etcd."""
    server = plane.part(programs.API_SERVER)
    server.process.kill()
    server.process.wait()
    try:
        yield
    finally:
        started = plane.children.start(
            server.name, [programs.find(programs.API_SERVER), *commands.api_server(plane.place)], {}
        )
        server.process = started.process  # the plane looks after it as after the first
        until_back(plane)


def until_back(plane: Plane) -> None:
    server = plane.part(programs.API_SERVER)
    wait_until(lambda: answers(lambda: plane.client.text("/readyz") == "ok"), server.last_lines, 60)


@contextmanager
def kept_running(operator: Operator) -> Iterator[list[int]]:
    """As Kubernetes would; how it ended each time."""
    codes: list[int] = []
    over = threading.Event()

    def keep() -> None:
        while not over.wait(LOOK_SECONDS):
            if operator.process and not operator.runs:
                codes.append(operator.process.returncode)
                operator.start()

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield codes
    finally:
        over.set()
        thread.join()
