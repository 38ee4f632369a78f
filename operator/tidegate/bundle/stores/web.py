"""Ranged reads over HTTP, shared by the stores that speak it; what each adds is its own headers and error texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus

from tidegate.bundle.addresses import resolve_origin
from tidegate.bundle.errors import BundleError, Denied, NotFound, Unreachable
from tidegate.bundle.source import Access
from tidegate.bundle.transport import ERROR_BODY, Connections, Request, Response, tls_context

CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
LENGTH = re.compile(r"\d{1,18}")


class WebStream:
    """The body of a response, up to the length that was asked for."""

    def __init__(self, response: Response, total: int, length: int) -> None:
        self._response = response
        self._left = length
        self.total = total

    def readinto(self, buffer: memoryview) -> int:
        count = self._response.readinto(buffer[: self._left])
        self._left -= count
        return count

    def close(self) -> None:
        self._response.close()


class WebReader:
    """Reads from one origin; subclasses say which path stands for a file, and sign."""

    image = ""

    def __init__(self, scheme: str, host: str, port: int, access: Access) -> None:
        origin = resolve_origin(scheme, host, port, allow_loopback=access.allow_loopback)
        self._connections = Connections(origin, tls=tls_context(access.ca) if scheme == "https" else None)

    def target(self, path: str) -> str:
        """The path of the request."""
        return "/" + path

    def headers(self, method: str, path: str, extra: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002
        """All headers of a request, authorization included."""
        return extra

    def refusal(self, response: Response, body: bytes, path: str) -> BundleError:  # noqa: ARG002
        """The error that a response stands for."""
        return refusal_for(response, self.where(path))

    def where(self, path: str) -> str:
        return f"{self._connections.origin}{self.target(path)}"

    def read(self, path: str, *, limit: int) -> bytes:
        response = self._request("GET", path, {})
        try:
            return response.read(limit)
        finally:
            response.close()

    def open(self, path: str, *, start: int, length: int) -> WebStream:
        if length == 0:
            start, length = 0, 1  # an empty range cannot be asked for
        response = self._request("GET", path, {"Range": f"bytes={start}-{start + length - 1}"})
        try:
            return WebStream(response, self._total(response, start, path), length)
        except BundleError:
            response.close()
            raise

    def close(self) -> None:
        self._connections.close()

    def _request(self, method: str, path: str, extra: Mapping[str, str]) -> Response:
        headers = self.headers(method, path, {**extra, "Accept-Encoding": "identity", "User-Agent": "tidegate"})
        response = self._connections.send(Request(method, self.target(path), headers))
        empty = response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and _total_of(response) == 0
        if response.status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT) or empty:
            return response
        try:
            body = b"" if method == "HEAD" else response.beginning(ERROR_BODY)
        finally:
            response.close()
        raise self.refusal(response, body, path)

    def _total(self, response: Response, start: int, path: str) -> int:
        """The size of the whole file, from a response to a ranged request that began at `start`."""
        if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return 0
        if response.status == HTTPStatus.OK:
            length = response.headers.get("Content-Length", "")
            if start == 0 and LENGTH.fullmatch(length):
                return int(length)
            raise Unreachable("the server gives no parts of files", where=self.where(path))
        match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != start:
            raise Unreachable("the server gave another part than it was asked for", where=self.where(path))
        return int(match[3])


def _total_of(response: Response) -> int:
    match = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def refusal_for(response: Response, where: str) -> BundleError:
    """The error for a status, when the store says nothing more."""
    status = response.status
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return Denied(f"answered {status}, a redirect, and none is followed", where=where, do="give the final address")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Denied(f"answered {status}", where=where, do="check the credentials and what they allow")
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return NotFound("not there", where=where, do="check the address and the version")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in (
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.REQUEST_TIMEOUT,
    ):
        return Unreachable(f"answered {status}", where=where, do="the store is in trouble: try again later")
    return Denied(f"answered {status}", where=where)
