"""A model that runs, as something to put load on: its address, the bytes of its requests, and a first try of each."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from tidegate.bench.connection import Endpoint
from tidegate.bench.requests import Questions, request_bytes, request_of
from tidegate.bench.run import Work
from tidegate.client import ModelAddress
from tidegate.client.certificate import Certificate
from tidegate.client.connection import Connection

ANSWER_SECONDS = 60.0
TRYING_SECONDS = 2.0  # then the rest will show under load


@dataclass(frozen=True, slots=True)
class How:
    """How a model is asked: `form` is json or binary; `certificate` is for servers that ask for one."""

    form: str
    headers: Mapping[str, str]
    connections: int
    certificate: Certificate | None = None
    server_seconds: Callable[[], float] = lambda: 0.0  # see Work


def work_on(address: ModelAddress, asked: Questions, how: How) -> Work:
    """What the load is: requests that were tried, the first of them at least.

    Raises Invalid, or ClientError with the server's sentence.
    """
    parts = urlsplit(address.server)
    requests: list[bytes] = []
    connection = Connection(address.server, how.headers, how.certificate)
    end = time.monotonic() + TRYING_SECONDS
    try:
        for inputs in asked.inputs:
            request = request_of(address, inputs, how.form)
            if not requests or time.monotonic() < end:
                connection.once(request, timeout=ANSWER_SECONDS)
            headers = {**how.headers, **request.headers}
            requests.append(request_bytes(parts.netloc, parts.path + request.path, request.body, headers.items()))
    finally:
        connection.close()
    shown = how.certificate.context() if how.certificate else ssl.create_default_context()
    tls = shown if parts.scheme == "https" else None
    endpoint = Endpoint(parts.hostname or "", parts.port or (443 if tls else 80), tls)
    return Work(endpoint, requests, how.connections, server_seconds=how.server_seconds)
