"""A gRPC server that does what a test says with each call, and counts what it gets."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from tidegate.protocol import SERVICE

LATER = {"grpc-retry-pushback-ms": "0"}


@dataclass(frozen=True)
class Said:
    """A status other than OK."""

    code: grpc.StatusCode
    sentence: str
    trailing: Mapping[str, str] = field(default_factory=dict)


class Silence:
    """No answer before the test is over."""


class Server(grpc.GenericRpcHandler):
    """Follows its script, call by call, and then its last line for ever; an answer is a message."""

    def __init__(self, script: tuple[Any, ...]) -> None:
        self.script = list(script)
        self.received: list[bytes] = []
        self.metadata: list[dict[str, Any]] = []
        self.seconds: list[float] = []
        self.over = threading.Event()
        self.url = ""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        assert details.method.startswith(f"/{SERVICE}/")
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, raw: bytes, context: grpc.ServicerContext) -> bytes:
        self.received.append(raw)
        self.metadata.append(dict(context.invocation_metadata()))
        self.seconds.append(context.time_remaining() or 0.0)
        act = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(act, Silence):
            self.over.wait(30)
        if isinstance(act, Said):
            context.set_trailing_metadata(tuple(act.trailing.items()))
            context.abort(act.code, act.sentence)
        return b"" if isinstance(act, Silence) else act if isinstance(act, bytes) else act.SerializeToString()


@contextmanager
def following(*script: Any, tls: grpc.ServerCredentials | None = None) -> Iterator[Server]:
    """A server on a free port, until the block is left."""
    handler = Server(script)
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[handler])
    if tls is None:
        handler.url = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    else:
        handler.url = f"grpcs://127.0.0.1:{server.add_secure_port('127.0.0.1:0', tls)}"
    server.start()
    try:
        yield handler
    finally:
        handler.over.set()
        server.stop(None).wait()
