"""The registry's protocol (OCI distribution 1.1) as bundles need it: documents, blobs in parts, uploads.

HTTPS, or plain HTTP where the registry is this very machine.  Only a blob may be redirected, as registries do that keep
them in object stores; the other host sees no credentials and is judged as every address is.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

from tidegate.bundle.addresses import is_here, resolve_origin
from tidegate.bundle.errors import BundleError, Conflict, Denied, NotFound, Unreachable
from tidegate.bundle.source import Access
from tidegate.bundle.stores.docker_config import login_for
from tidegate.bundle.stores.oci.challenge import Authorization
from tidegate.bundle.stores.web import refusal_for
from tidegate.bundle.transport import ERROR_BODY, Connections, Request, Response, tls_context
from tidegate.bundle.uri import BundleUri, host_and_port

PORTS = {"https": 443, "http": 80}
HUB = {"docker.io": "registry-1.docker.io"}  # the one registry whose name is not its host
REDIRECTS = frozenset({301, 302, 303, 307, 308})
GOOD = frozenset({200, 201, 202, 206})
MOST_REDIRECTS = 3


class Registry:
    """One registry, for one address; safe to use from several threads."""

    def __init__(self, uri: BundleUri, access: Access, scopes: list[str]) -> None:
        self.scopes = scopes  # what a token must allow
        self._place = HUB.get(uri.place, uri.place)
        self._access = access
        own_ca = "ca.crt" in access.credentials  # given for this registry, so it speaks TLS even here
        self._scheme = "http" if is_here(self._place) and not own_ca else "https"
        self._connections = self._connect(self._scheme, self._place)
        self._lock = threading.Lock()
        self._elsewhere: dict[tuple[str, str], Connections] = {}  # where blobs are redirected to
        self._authorization = Authorization(self._place, login_for(uri.place, access), scopes, self._connect)

    def get(self, path: str, *, accept: str, limit: int, where: str) -> bytes:
        """A whole document."""
        response = self.send(Request("GET", path, {"Accept": accept}), where)
        try:
            return response.read(limit)
        finally:
            response.close()

    def blob(self, path: str, headers: Mapping[str, str], where: str, *, method: str = "GET") -> Response:
        """A blob or part of one, from wherever the registry says it is; also 416, which only the caller understands.

        HEAD asks whether it is there.
        """
        response = self._exchange(Request(method, path, headers))
        url = f"{self._scheme}://{self._place}{path}"
        for _ in range(MOST_REDIRECTS):
            if response.status not in REDIRECTS:
                break
            url = urljoin(url, response.headers.get("Location", ""))
            response.close()
            response = self._follow(method, url, headers, where)
        if response.status in (*GOOD, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
            return response
        raise self._refused(response, where)

    def send(self, request: Request, where: str) -> Response:
        """One exchange with the registry itself; the errors of a bundle for its refusals."""
        response = self._exchange(request)
        if response.status in GOOD:
            return response
        raise self._refused(response, where)

    def target(self, location: str, where: str) -> str:
        """The path of an upload's address, which has to be on this registry."""
        parts = urlsplit(urljoin(f"{self._scheme}://{self._place}/", location))
        if not location or self._host(parts.netloc, where) != self._host(self._place, where):
            raise Denied("wants the upload to go to another host", where=where, do="give the registry's own address")
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    def close(self) -> None:
        self._connections.close()
        for connections in list(self._elsewhere.values()):
            connections.close()

    def _exchange(self, request: Request) -> Response:
        """Send, and once more with better credentials when the registry asks for them."""
        sent = self._authorization.header
        response = self._send_as(request, sent)
        if response.status != HTTPStatus.UNAUTHORIZED:
            return response
        challenges = response.headers.get_all("WWW-Authenticate") or []
        response.beginning(ERROR_BODY)
        response.close()
        return self._send_as(request, self._authorization.renewed(sent, challenges))

    def _send_as(self, request: Request, authorization: str) -> Response:
        headers = {**request.headers, "Accept-Encoding": "identity", "User-Agent": "tidegate"}
        if authorization:
            headers["Authorization"] = authorization
        return self._connections.send(Request(request.method, request.target, headers, request.body))

    def _follow(self, method: str, url: str, headers: Mapping[str, str], where: str) -> Response:
        parts = urlsplit(url)
        at = (parts.scheme, parts.netloc)
        with self._lock:
            if at not in self._elsewhere:
                self._elsewhere[at] = self._connect(*at)
        if not parts.path:
            raise Unreachable("redirects to nowhere", where=where, do="the registry is in trouble: try again later")
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        return self._elsewhere[at].send(Request(method, target, {**headers, "Accept-Encoding": "identity"}))

    def _connect(self, scheme: str, place: str) -> Connections:
        """Connections to a host: of the registry, its token server, or where it keeps its blobs."""
        host, port = host_and_port(place, f"{scheme}://{place}")
        if scheme != "https" and not (scheme == "http" and is_here(place)):
            raise Denied("is not served over TLS", where=f"{scheme}://{place}", do="only this machine may be asked so")
        origin = resolve_origin(scheme, host, port or PORTS[scheme], allow_loopback=self._access.allow_loopback)
        return Connections(origin, tls=self._tls(place) if scheme == "https" else None)

    def _tls(self, place: str) -> ssl.SSLContext:
        """The CA that was given is the registry's: its token server and its layers may be at hosts of another one."""
        where = f"https://{place}"
        return tls_context(self._access.ca, system_too=self._host(place, where) != self._host(self._place, where))

    def _host(self, place: str, where: str) -> tuple[str, int]:
        host, port = host_and_port(place, where)
        return host, port or PORTS[self._scheme]

    def _refused(self, response: Response, where: str) -> BundleError:
        try:
            response.beginning(ERROR_BODY)
        finally:
            response.close()
        if response.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return self._authorization.refusal()
        if response.status == HTTPStatus.NOT_FOUND:
            return NotFound("not there", where=where, do="check the repository and the tag")
        if response.status in (HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED):
            return Conflict("the registry lets nobody change this tag", where=where, do="push it as a new version")
        return refusal_for(response, where)
