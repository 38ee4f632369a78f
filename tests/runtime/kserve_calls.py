"""Asks a server by the clients of KServe's own package, and prints what each call gave: `python kserve_calls.py < JSON`.

It is run by the Python of an environment that has the package (tests/runtime/test_kserve_client.py) and can import
nothing else of ours.  Stdin says where the server is and what to send; a call that fails gives its exception.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

SECONDS = 20.0
Call = Callable[[], Awaitable[Any]]


class Asker:
    """The three clients, and what `wish` wants them to send."""

    def __init__(self, wish: dict[str, Any]) -> None:
        self.url = f"http://127.0.0.1:{wish['http']}"
        self.model, self.rows, self.datatype = wish["model"], wish["rows"], wish["datatype"]
        self.v1, self.v2 = (InferenceRESTClient(RESTConfig(protocol=one, timeout=SECONDS)) for one in ("v1", "v2"))
        self.grpc = InferenceGRPCClient(f"127.0.0.1:{wish['grpc']}", timeout=SECONDS)

    def calls(self) -> dict[str, Call]:
        """Every call by the name under which its outcome is told."""
        return {
            "v1 live": lambda: self.v1.is_server_live(self.url),
            "v1 model ready": lambda: self.v1.is_model_ready(self.url, self.model),
            "v2 live": lambda: self.v2.is_server_live(self.url),
            "v2 ready": lambda: self.v2.is_server_ready(self.url),
            "v2 model ready": lambda: self.v2.is_model_ready(self.url, self.model),
            "grpc live": self.grpc.is_server_live,
            "grpc ready": self.grpc.is_server_ready,
            "grpc model ready": lambda: self.grpc.is_model_ready(self.model),
            "v1": lambda: self.by_v1(self.model, self.rows),
            "v2 json": lambda: self.by_v2(self.request(binary=False)),
            "v2 binary": lambda: self.by_v2(self.request(parameters={"binary_data_output": True})),
            "v2 binary request": lambda: self.by_v2(self.request()),
            "grpc typed": lambda: self.by_grpc(self.request(binary=False)),
            "grpc raw": lambda: self.by_grpc(self.request()),
            "v1 explain": lambda: self.v1.explain(self.url, self.model, self.explained()),
            "v1 another model": lambda: self.by_v1("another", self.rows),
            "v2 another model": lambda: self.by_v2(self.request("another")),
            "grpc another model": lambda: self.by_grpc(self.request("another")),
            "v1 another model ready": lambda: self.v1.is_model_ready(self.url, "another"),
            "v2 another model ready": lambda: self.v2.is_model_ready(self.url, "another"),
            "grpc another model ready": lambda: self.grpc.is_model_ready("another"),
            "v1 wrong shape": lambda: self.by_v1(self.model, self.narrow),
            "v2 wrong shape": lambda: self.by_v2(self.request(rows=self.narrow)),
            "grpc wrong shape": lambda: self.by_grpc(self.request(rows=self.narrow)),
        }

    @property
    def narrow(self) -> list[Any]:
        return [row[:-1] for row in self.rows]

    def request(self, model: str = "", *, binary: bool = True, rows: Any = None, **more: Any) -> InferRequest:
        kind = {"FP32": np.float32, "INT64": np.int64, "BYTES": np.object_}[self.datatype]
        array: Any = np.array(self.rows if rows is None else rows, kind)
        tensor = InferInput("x", list(array.shape), self.datatype)
        tensor.set_data_from_numpy(array, binary_data=binary)
        return InferRequest(model or self.model, [tensor], request_id="q1", **more)

    def explained(self) -> dict[str, Any]:
        return {"instances": self.rows[:1], "parameters": {"baseline": "zero", "method": "occlusion"}}

    async def by_v1(self, model: str, rows: Any) -> Any:
        return await self.v1.infer(self.url, {"instances": rows}, model)

    async def by_v2(self, request: InferRequest) -> Any:
        return told(await self.v2.infer(self.url, request, request.model_name))

    async def by_grpc(self, request: InferRequest) -> Any:
        return told(await self.grpc.infer(request))

    async def close(self) -> None:
        for client in (self.v1, self.v2, self.grpc):
            await client.close()


def told(answer: Any) -> dict[str, Any]:
    """An answer of the clients as JSON has it."""
    outputs = {one.name: one.as_numpy() for one in answer.outputs}
    return {
        "id": answer.id,
        "model": answer.model_name,
        "outputs": {name: [text(value) for value in array.tolist()] for name, array in outputs.items()},
    }


def text(value: Any) -> Any:
    """Texts come as bytes where they were not in JSON."""
    if isinstance(value, list):
        return [text(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value


async def outcome(call: Call) -> Any:
    try:
        return await call()
    except httpx.HTTPStatusError as error:
        return {"raised": "HTTPStatusError", "status": error.response.status_code, "sentence": str(error)}
    except grpc.RpcError as error:
        return {"raised": "RpcError", "status": error.code().name, "sentence": error.details()}


async def main() -> None:
    logging.disable()  # the clients log each refusal
    asker = Asker(json.load(sys.stdin))
    found = {name: await outcome(call) for name, call in asker.calls().items()}
    await asker.close()
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
