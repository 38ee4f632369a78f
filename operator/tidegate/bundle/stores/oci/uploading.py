"""Putting blobs and manifests into a repository: each blob once, mounted from another repository where that has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from email.message import Message
from http import HTTPStatus

from tidegate.bundle.errors import NotFound
from tidegate.bundle.retry import Deadline, Retries
from tidegate.bundle.stores.oci.naming import Names
from tidegate.bundle.stores.oci.registry import Registry
from tidegate.bundle.transport import ERROR_BODY, Request, Response

UPLOAD_WITHIN = 3600.0  # seconds; the next attempt is not begun after it
Body = Callable[[], Iterable[bytes]]


class Uploader:
    """Writes into one repository; `mount_from` is one of the same registry that may have blobs already ("": none)."""

    def __init__(self, registry: Registry, names: Names, where: str) -> None:
        self.registry = registry
        self.names = names
        self._where = where
        self.mount_from = ""

    def upload(self, digest: str, size: int, body: Body) -> bool:
        """Store a blob unless it is there or can be mounted; whether its bytes were sent.  A cut one is begun again."""
        return Retries(Deadline(UPLOAD_WITHIN)).call(lambda: self._upload(digest, size, body))

    def _upload(self, digest: str, size: int, body: Body) -> bool:
        if self.has(digest):
            return False
        started = self._start(digest)
        if started.status == HTTPStatus.CREATED:
            return False
        target = self.registry.target(started.headers.get("Location", ""), self._where)
        mark = "&" if "?" in target else "?"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        _done(self.registry.send(Request("PUT", f"{target}{mark}digest={digest}", headers, body), self._where))
        return True

    def has(self, digest: str) -> bool:
        try:
            _done(self.registry.blob(self.names.blob(digest), {}, self._where, method="HEAD"))
        except NotFound:
            return False
        return True

    def put_manifest(self, reference: str, raw: bytes, media_type: str) -> Message:
        """Store a manifest under a tag or digest; the headers of the answer."""
        headers = {"Content-Type": media_type, "Content-Length": str(len(raw))}
        request = Request("PUT", self.names.manifest(reference), headers, lambda: [raw])
        return _done(self.registry.send(request, self._where)).headers

    def _start(self, digest: str) -> Response:
        """Begin an upload; 201 when the blob was mounted instead."""
        query = f"?mount={digest}&from={self.mount_from}" if self.mount_from else ""
        return _done(self.registry.send(Request("POST", self.names.uploads(query), {}), self._where))


def _done(response: Response) -> Response:
    """Read an answer to its end, so that its connection can be used again."""
    try:
        response.beginning(ERROR_BODY)
    finally:
        response.close()
    return response
