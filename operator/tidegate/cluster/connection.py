"""One request to the API server: a dictionary out, a dictionary back or an error that says what to do next.

Over the raw `ApiClient` of `kubernetes.aio`: its typed APIs cost 34 MiB and 1.5 s of imports.  Its own defaults are
replaced where they hurt: five minutes of patience become the caller's deadline, and nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.exceptions import OpenApiException

from tidegate.cluster.api import Object
from tidegate.cluster.errors import ApiDown, error_of

JSON = "application/json"
YAML = "application/yaml"
APPLY = "application/apply-patch+yaml"  # JSON is YAML
MERGE = "application/merge-patch+json"
OK = range(200, 300)

Counted = Callable[[str, str, float], None]  # verb, code, seconds


@dataclass(frozen=True, slots=True)
class Call:
    """A request; `verb` is the word of roles and metrics, `where` the one of messages."""

    verb: str
    method: str
    path: str
    where: str
    query: tuple[tuple[str, str], ...] = ()
    body: Mapping[str, Any] | str | None = None
    content_type: str = JSON
    accept: str = JSON


def uncounted(verb: str, code: str, seconds: float) -> None:
    """For connections that nobody keeps figures of."""


class Connection:
    """A pool of connections of its own; every call within the deadline it is given."""

    def __init__(self, client: ApiClient, counted: Counted = uncounted) -> None:
        self._client = client
        self._counted = counted

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]

    async def send(self, call: Call, deadline: float) -> Object:
        """The answer's document; raises the error of `tidegate.cluster.errors` that fits any other answer."""
        began, code = time.monotonic(), "none"
        try:
            async with asyncio.timeout(deadline):
                status, retry_after, body = await self._exchange(call, deadline)
            code = str(status)
        except TimeoutError:
            raise ApiDown(f"no answer within {deadline:.3g} s", where=f"{call.verb} {call.where}") from None
        except (aiohttp.ClientError, OSError, OpenApiException) as error:
            what = str(error) or type(error).__name__
            raise ApiDown(f"the API server cannot be reached: {what}", where=f"{call.verb} {call.where}") from None
        finally:
            self._counted(call.verb, code, time.monotonic() - began)
        return answered(call, status, retry_after, body)

    async def _exchange(self, call: Call, deadline: float) -> tuple[int, str, bytes]:
        method, url, headers, body, _ = await self._client.param_serialize(
            call.method,
            call.path,
            query_params=list(call.query),
            header_params={"Accept": call.accept, "Content-Type": call.content_type},
            body=call.body,
            auth_settings=["BearerToken"],
        )
        timeout = aiohttp.ClientTimeout(total=deadline)  # also ends what is left of an answer nobody waits for
        response = await self._client.call_api(method, url, headers, body, _request_timeout=timeout)
        content: bytes = await response.read()  # type: ignore[no-untyped-call]
        return response.status, response.headers.get("Retry-After", ""), content


def answered(call: Call, status: int, retry_after: str, body: bytes) -> Object:
    document = document_of(body)
    where = f"{call.verb} {call.where}"
    if status not in OK:
        raise error_of(status, document or {}, where, retry_after=retry_after)
    if document is None:
        raise ApiDown("the answer is not a JSON object", where=where)
    return document


def document_of(body: bytes) -> Object | None:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
