"""One cell of the table: the same request again and again to one server, with raw runs before and after.

R = CPU time of one raw `session.run` / CPU time of the server's processes for one request.  Server and raw runs use
one core, the client another one; a busy neighbour slows both, so that R hardly depends on the machine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import uvloop
from benchmarks import grpc_load, load
from benchmarks.forms import FORMS, ask, ask_grpc
from benchmarks.load import Result
from benchmarks.models import Array, BenchModel
from benchmarks.processes import SERVER_CORE, Started, on_core

CLIENT_CORE = 1
CALIBRATION = 0.4
SECONDS = {"medium": 4.0}
USUAL_SECONDS = 1.6
CONNECTIONS = {"medium": 8}
USUAL_CONNECTIONS = 64
LOOKED_AT = 0.1  # seconds of raw runs that are looked at one by one
Load = Callable[[str, int, bytes, int, float], Coroutine[Any, Any, Result]]


class WrongAnswer(Exception):
    """A server that does not give what ONNX Runtime gives is not compared."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What was measured; CPU in seconds."""

    system: str
    model: str
    protocol: str
    connections: int
    raw_seconds: float
    cpu_seconds: float
    result: Result

    @property
    def ratio(self) -> float:
        return self.raw_seconds / self.cpu_seconds

    def row(self) -> dict[str, Any]:
        return {
            "system": self.system, "model": self.model, "protocol": self.protocol, "concurrency": self.connections,
            "R": round(self.ratio, 4), "rps": round(self.result.rps, 1),
            "p50Ms": round(self.result.quantile(0.5) * 1e3, 3), "p99Ms": round(self.result.quantile(0.99) * 1e3, 3),
            "cpuUsPerRequest": round(self.cpu_seconds * 1e6, 1), "rawUs": round(self.raw_seconds * 1e6, 1),
        }  # fmt: skip


class Raw:
    """ONNX Runtime without a server: the measure of all cells, and the right answer."""

    def __init__(self, model: BenchModel) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(model.graph.SerializeToString(), options)
        self._feeds = {model.input: model.sample()}

    def answer(self) -> Array:
        first: Array = self._session.run(None, self._feeds)[0]
        return first.ravel()

    def seconds(self) -> float:
        """CPU time of one run, on the server's core, while the server has nothing to do."""
        with on_core(SERVER_CORE):
            runs, began, until = 0, time.process_time(), time.perf_counter() + CALIBRATION
            while time.perf_counter() < until:
                self._session.run(None, self._feeds)
                runs += 1
            return (time.process_time() - began) / runs

    def latency(self) -> float:
        """Median wall time of one run, in seconds."""
        taken = []
        with on_core(SERVER_CORE):
            until = time.perf_counter() + LOOKED_AT
            while (began := time.perf_counter()) < until:
                self._session.run(None, self._feeds)
                taken.append(time.perf_counter() - began)
        return statistics.median(taken)


def pressed(
    server: Started, model: BenchModel, protocol: str, connections: int, seconds: float
) -> tuple[Result, float]:
    """Requests over so many connections: what the client saw, and the server's CPU seconds."""
    request = FORMS[protocol].write(model)
    send: Load = grpc_load.load if protocol == "grpc" else load.load
    port = server.grpc if protocol == "grpc" else server.http
    assert port is not None
    used = server.cpu_seconds()
    with on_core(CLIENT_CORE):
        result = uvloop.run(send("127.0.0.1", port, request, connections, seconds))
    used = server.cpu_seconds() - used
    if result.errors:
        raise RuntimeError(f"{result.errors} of {result.requests} requests failed")
    return result, used


def usual(model: BenchModel, scale: float) -> tuple[int, float]:
    """Connections and seconds of a model's cells."""
    return CONNECTIONS.get(model.name, USUAL_CONNECTIONS), scale * SECONDS.get(model.name, USUAL_SECONDS)


def check_answer(server: Started, model: BenchModel, protocol: str, right: Array) -> None:
    """Raises WrongAnswer unless the server answers as ONNX Runtime does."""
    form = FORMS[protocol]
    if protocol == "grpc":
        assert server.grpc is not None
        found = form.read(ask_grpc(server.grpc, form.write(model)), 0)
    else:
        status, body, json_length = ask(server.http, form.write(model))
        if status != 200:
            raise WrongAnswer(f"status {status}")
        found = form.read(body, json_length)
    if found.shape != right.shape or not np.allclose(found, right, rtol=1e-4, atol=1e-5):
        raise WrongAnswer("other numbers than ONNX Runtime's")
