"""`Client`: the public face."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import quote, unquote

import numpy.typing as npt

from tidegate.client.connection import Connection, Request, no_credentials
from tidegate.client.errors import NotConnected, ServerBusy, TimedOut, Unanswered
from tidegate.client.wire import JSON_LENGTH, ModelMetadata, Prediction, asked, model_metadata, prediction
from tidegate.errors import Invalid

OF_A_MODEL = re.compile(r"(https?://.+?)/v2/models/([^/?#]+)(?:/versions/([^/?#]+))?(?:/infer)?/?")


@dataclass(frozen=True, slots=True)
class ModelAddress:
    """Where a model is asked: the server's address, and the model's name; `version` is empty where none is named."""

    server: str
    model: str
    version: str = ""


def model_address(url: str) -> ModelAddress:
    """The parts of `http://HOST[:PORT]/v2/models/NAME[/versions/V][/infer]`; raises Invalid for other addresses."""
    no_credentials(url)
    match = OF_A_MODEL.fullmatch(url)
    if match is None:
        raise Invalid("not the address of a model", where=url, do="write http://HOST:PORT/v2/models/NAME")
    server, model, version = match.groups(default="")
    return ModelAddress(server, unquote(model), unquote(version))


class Client:
    """Asks models behind one address, over HTTP with binary tensors; for any number of threads.

    `timeout` (seconds) bounds all tries of a request until its answer begins.  A request is made again, up to
    `retries` times, while the server cannot have begun to run it: no connection, or 429 and 503 of the server itself.
    `repeat=True` also repeats what may have been run, for models that may be asked twice.  `headers` go with every
    request.  Every failure is a ClientError that says which (tidegate.client.errors).
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        retries: int = 3,
        repeat: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._connection = Connection(url, retries=retries, repeat=repeat, headers=headers or {})
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
        wanted = asked(inputs, outputs)
        path = f"{model_path(model, version)}/infer"

        def write(left: float) -> Request:
            body, json_length = wanted.body(left)
            kind = {"content-type": "application/octet-stream", JSON_LENGTH: str(json_length)}
            return Request("POST", path, body, kind)

        return prediction(self._connection.send(write, timeout=self._timeout if timeout is None else timeout))

    def metadata(self, model: str, *, version: str = "") -> ModelMetadata:
        """What `model` takes and gives."""
        request = Request("GET", model_path(model, version))
        return model_metadata(self._connection.send(lambda _: request, timeout=self._timeout))

    def ready(self, model: str = "", *, version: str = "") -> bool:
        """Whether the server, or this model on it, can be asked now; raises RequestRefused when it is not there."""
        request = Request("GET", f"{model_path(model, version)}/ready" if model else "/v2/health/ready")
        try:
            self._connection.once(request, timeout=self._timeout)
        except (NotConnected, ServerBusy, Unanswered, TimedOut):
            return False
        return True

    def close(self) -> None:
        """Close the kept connections."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def model_path(model: str, version: str) -> str:
    """Where a model is asked on its server."""
    below = f"/versions/{quote(version, safe='')}" if version else ""
    return f"/v2/models/{quote(model, safe='')}{below}"
