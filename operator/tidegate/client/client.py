"""`Client`: the public face."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote

import numpy.typing as npt

from tidegate.client.certificate import Certificate
from tidegate.client.connection import Connection, no_credentials
from tidegate.client.errors import NotConnected, ServerBusy, TimedOut, Unanswered
from tidegate.client.messages import Asked, ModelMetadata, Prediction, Transport, tensors
from tidegate.client.over_http import HttpTransport
from tidegate.client.trying import Trying
from tidegate.errors import Failed, Invalid

OF_A_MODEL = re.compile(r"((?:https?|grpcs?)://.+?)/v2/models/([^/?#]+)(?:/versions/([^/?#]+))?(?:/infer)?/?")
OVER_GRPC = re.compile(r"(grpcs?)://([\w.-]+:\d+|\[[\da-fA-F:.]+\]:\d+)/?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelAddress:
    """Where a model is asked: the server's address, and the model's name; `version` is empty where none is named."""

    server: str
    model: str
    version: str = ""


def model_address(url: str) -> ModelAddress:
    """The parts of `http://HOST[:PORT]/v2/models/NAME[/versions/V][/infer]`; raises Invalid for other addresses.

    The same after `https://`, `grpc://` and `grpcs://`.
    """
    no_credentials(url)
    match = OF_A_MODEL.fullmatch(url)
    if match is None:
        raise Invalid("not the address of a model", where=url, do="write http://HOST:PORT/v2/models/NAME")
    server, model, version = match.groups(default="")
    return ModelAddress(server, unquote(model), unquote(version))


class Client:
    """Asks models behind one address, with binary tensors; for any number of threads.

    `url` is `http://HOST[:PORT]`, `https://…`, or for gRPC `grpc://HOST:PORT` and `grpcs://…` (gRPC over TLS).
    `timeout` (seconds) bounds all tries of a request until its answer begins.  A request is made again, up to
    `retries` times, while the server cannot have begun to run it: no connection, or 429 and 503 of the server itself.
    `repeat=True` also repeats what may have been run, for models that may be asked twice.  `headers` go with every
    request.  `client_cert` names the PEM files of a certificate and its key, for servers that ask for one; raises
    Invalid when they cannot be used.  Every failure is a ClientError that says which (tidegate.client.errors).
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        retries: int = 3,
        repeat: bool = False,
        headers: Mapping[str, str] | None = None,
        client_cert: tuple[str | Path, str | Path] | None = None,
    ) -> None:
        certificate = Certificate(*map(Path, client_cert)) if client_cert else None
        self._transport = _transport(url, headers or {}, certificate)
        self._trying = Trying(retries=retries, repeat=repeat)
        self._timeout = timeout

    def infer(
        self,
        model: str,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        outputs: Sequence[str] = (),
        version: str = "",
        timeout: float | None = None,
    ) -> Prediction:
        """The outputs of `model` for these inputs: all of them, or those named in `outputs`.

        Arrays are sent as the types they have: a model that takes FP32 needs float32.  `version` is a bundle's version
        or a revision; without one the rollout's weights choose.
        """
        asked = Asked(model, version, tensors(inputs), outputs)
        return self._trying.answer(
            lambda left: self._transport.infer(asked, left), timeout=self._timeout if timeout is None else timeout
        )

    def metadata(self, model: str, *, version: str = "") -> ModelMetadata:
        """What `model` takes and gives."""
        return self._trying.answer(lambda left: self._transport.metadata(model, version, left), timeout=self._timeout)

    def ready(self, model: str = "", *, version: str = "") -> bool:
        """Whether the server, or this model on it, can be asked now; raises RequestRefused when it is not there."""
        try:
            return self._transport.ready(model, version, self._timeout)
        except (NotConnected, ServerBusy, Unanswered, TimedOut):
            return False

    def close(self) -> None:
        """Close what is kept open."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _transport(url: str, headers: Mapping[str, str], certificate: Certificate | None) -> Transport:
    """How the server at `url` is asked; raises Invalid for what is no address of one."""
    if not url.startswith(("grpc://", "grpcs://")):
        return HttpTransport(Connection(url, headers, certificate))
    no_credentials(url)
    match = OVER_GRPC.fullmatch(url)
    if match is None:
        raise Invalid("not the address of a gRPC server", where=url, do="write grpc://HOST:PORT")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it writes to stderr what becomes an error of ours
    try:
        from tidegate.client.over_grpc import GrpcTransport
    except ModuleNotFoundError as missing:
        raise Failed(f"this needs the package {missing.name}, which is not installed", where=url,
                     do="run: pip install 'tidegate[client-grpc]'") from None  # fmt: skip
    return GrpcTransport(match[2], secure=match[1] == "grpcs", headers=headers, certificate=certificate)
