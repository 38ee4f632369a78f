"""A bundle between the server's parsers, loaded as the server loads it, in a process of its own.

Of its own, because these tests speak gRPC with the messages of a public client: a process has room for only one of two
definitions of the same protocol.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tidegate_runtime.settings import parse

PATIENCE = 30.0


class Elsewhere:
    """See `tensor_forms.Target`; what goes wrong there is raised here."""

    def __init__(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, there = spawn.Pipe()
        self._process = spawn.Process(target=work, args=(there,), daemon=True)
        self._process.start()
        there.close()

    def load(self, folder: Path) -> None:
        """From now on this bundle is asked."""
        self._call("load", folder)

    def http(self, body: bytes, json_length: int | None) -> tuple[bytes, int | None]:
        answer: tuple[bytes, int | None] = self._call("http", body, json_length)
        return answer

    def grpc(self, request: bytes) -> bytes:
        answer: bytes = self._call("grpc", request)
        return answer

    def end(self) -> None:
        self._pipe.close()
        self._process.join(PATIENCE)

    def _call(self, *order: Any) -> Any:
        self._pipe.send(order)
        assert self._pipe.poll(PATIENCE), f"no answer to {order!r:.200}"
        answer, error = self._pipe.recv()
        if error:
            raise AssertionError(error)
        return answer


def work(pipe: Connection) -> None:
    """Do what comes through the pipe until it is closed."""
    from tidegate_runtime.watchdog import Watchdog

    watchdog = Watchdog()
    lane = watchdog.lane()
    watchdog.start()
    loaded: Any = None
    with contextlib.suppress(EOFError):
        while True:
            order, *arguments = pipe.recv()
            try:
                if order == "load":
                    loaded, answer = _Loaded(arguments[0], lane), None
                else:
                    answer = getattr(loaded, order)(*arguments)
                pipe.send((answer, ""))
            except Exception as error:  # noqa: BLE001 - whatever it is, the test that waits shows it
                pipe.send((None, f"{type(error).__name__}: {error}"))
    watchdog.stop()


class _Loaded:
    def __init__(self, folder: Path, lane: Any) -> None:
        from tidegate_runtime import session
        from tidegate_runtime.grpc_codec import GrpcCodec
        from tidegate_runtime.oip_codec import InferCodec
        from tidegate_runtime.signature import Signature

        self._model, self._lane = session.load(parse(["--bundle", str(folder)], {}), lane), lane
        signature = Signature(self._model, most_rows=1024)
        self._http = InferCodec(self._model, signature, most_numbers=1 << 20)
        self._grpc = GrpcCodec(self._model, signature)

    def http(self, body: bytes, json_length: int | None) -> tuple[bytes, int | None]:
        asked = self._http.decode(body, json_length)
        return self._http.encode(asked, self._model.run(asked.feeds, self._lane))

    def grpc(self, request: bytes) -> bytes:
        from tidegate.protocol.open_inference_pb2 import ModelInferRequest

        asked = self._grpc.decode(ModelInferRequest.FromString(request))
        answer: bytes = self._grpc.encode(asked, self._model.run(asked.feeds, self._lane)).SerializeToString()
        return answer
