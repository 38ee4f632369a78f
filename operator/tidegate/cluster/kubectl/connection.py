"""One person at one API server: requests with a deadline, and answers that say what to do.

Nothing is repeated here but a login that has run out.  Redirects are not followed: credentials go to the server that
the kubeconfig names.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError, SSLError

from tidegate.cluster.errors import (
    ApiDown,
    ClusterError,
    Conflict,
    Forbidden,
    NotFound,
    Unauthorized,
    error_of,
)
from tidegate.cluster.kubectl.credentials import credentials
from tidegate.cluster.kubectl.kubeconfig import Context
from tidegate.cluster.kubectl.reaching import CONNECT_SECONDS, cause, distrusted, pool

FRESH_SECONDS = 5.0  # credentials that are refused so soon would be again
OK, BAD = 200, 400
WHO_AM_I = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
WHO_AM_I_ASKED = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
MERGE_PATCH = "application/merge-patch+json"
JSON = "application/json"
STREAM_BYTES = 64 * 1024
RIGHT = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]*)"'
    r'(?: in API group "(?P<group>[^"]*)")?(?: in the namespace "(?P<namespace>[^"]*)")?'
)
Object = dict[str, Any]
Troubles = Callable[[], contextlib.AbstractContextManager[None]]
T = TypeVar("T")


class CrdMissing(ClusterError):
    """The cluster does not know ModelDeployments."""

    reason = "CrdMissing"


class Connection:
    """Requests of a context's user, for as long as a `--watch`, a `wait` or a dashboard lasts; threads may share it."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._logging_in = threading.Lock()  # a plugin may open a browser: once is enough
        self._log_in()

    def _log_in(self) -> None:
        who = credentials(self.context)
        self._headers = urllib3.HTTPHeaderDict(who.headers)
        self._headers["Accept"] = "application/json"
        self._headers["User-Agent"] = "kubectl-tidegate"
        self._pool = pool(self.context, who)
        self._since = time.monotonic()

    @property
    def _may_be_renewed(self) -> bool:
        """Whether what a plugin or a file gave some time ago may be another by now."""
        given = {"exec", "tokenFile"} & set(self.context.user.values)
        return bool(given) and time.monotonic() - self._since > FRESH_SECONDS

    def get(self, path: str, **query: str) -> Object:
        return self.request("GET", path, query=query)

    def who_am_i(self) -> str:
        """The name by which the API server knows us; empty where it does not say."""
        try:
            found = self.post(WHO_AM_I, WHO_AM_I_ASKED)
        except ClusterError:  # an old server, or a right that somebody took away: the act itself needs no name
            return ""
        name = ((found.get("status") or {}).get("userInfo") or {}).get("username")
        return str(name or "")

    def patch(self, path: str, change: Mapping[str, Any], **query: str) -> Object:
        """A merge patch; with a resourceVersion in it only if nobody has written since (Conflict)."""
        return self.request("PATCH", path, query=query, body=change)

    def post(self, path: str, body: Mapping[str, Any]) -> Object:
        """Create, or ask by an object."""
        return self.request("POST", path, query={}, body=body)

    def request(
        self, method: str, path: str, *, query: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> Object:
        """One request and its JSON; raises the errors of `tidegate.cluster.errors`, CertificateInvalid, CrdMissing.

        Credentials that have run out are asked for once more.
        """
        return self._logged_in(lambda: self._answer(method, path, query, body))

    def lines(self, path: str, silence: float, **query: str) -> Lines:
        """The lines of an answer that goes on; `silence` seconds without any end it (ApiDown)."""
        return self._logged_in(lambda: self._begun(path, silence, query))

    def _logged_in(self, ask: Callable[[], T]) -> T:
        since = self._since
        try:
            return ask()
        except Unauthorized:
            if not self._may_be_renewed:
                raise
        with self._logging_in:
            if self._since == since:  # else another thread has done it meanwhile
                self._log_in()
        return ask()

    def _answer(self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None) -> Object:
        headers = self._headers.copy()
        if body is not None:
            headers["Content-Type"] = MERGE_PATCH if method == "PATCH" else JSON
        content = None if body is None else json.dumps(body).encode()
        with self._troubles():
            answer = self._pool.request(method, self._url(path, query), body=content, headers=headers, redirect=False)
        return self._read(answer.status, answer.data, answer.headers.get("Retry-After", ""))

    def _begun(self, path: str, silence: float, query: Mapping[str, str]) -> Lines:
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=silence)
        with self._troubles():
            answer = self._pool.request(
                "GET", self._url(path, query), headers=self._headers, redirect=False, preload_content=False,
                timeout=timeout,
            )  # fmt: skip
            if answer.status != OK:
                self._read(answer.status, answer.data, answer.headers.get("Retry-After", ""))
        return Lines(answer, self._troubles)

    def _url(self, path: str, query: Mapping[str, str]) -> str:
        return self.context.server + path + (f"?{urlencode(query)}" if query else "")

    @contextlib.contextmanager
    def _troubles(self) -> Iterator[None]:
        """What the network did, as an error with a sentence."""
        try:
            yield
        except SSLError as error:
            raise distrusted(error, self.context) from None
        except HTTPError as error:
            do = "check the network and the server's address in the kubeconfig"
            raise ApiDown(f"the API server does not answer: {cause(error)}", where=self.context.server, do=do) from None

    def _read(self, code: int, data: bytes, retry_after: str) -> Object:
        try:
            found = json.loads(data)
        except ValueError:
            found = None
        where = f"context {self.context.name}"
        if 200 <= code < 300 and isinstance(found, dict):  # noqa: PLR2004
            return found
        if code < BAD:
            do = "check the server's address in the kubeconfig"
            raise ClusterError(f"{self.context.server} does not answer as an API server", where=where, do=do)
        status = found if isinstance(found, dict) else {}
        raise self._told(error_of(code, status, where, retry_after=retry_after), status)

    def _told(self, error: ClusterError, status: Mapping[str, Any]) -> ClusterError:
        """The error with what a person at the prompt can do."""
        if isinstance(error, NotFound) and not (status.get("details") or {}).get("name"):
            what = "this cluster does not know ModelDeployments"
            do = "install Tidegate's chart, or: tidegate crd | kubectl apply --server-side -f -"
            return CrdMissing(what, where=error.where, do=do)
        if isinstance(error, Unauthorized):
            error.what = f"the API server does not accept the credentials of user {self.context.user.name}"
            error.do = "they may have expired: log in again, or choose another --context"
        elif isinstance(error, Forbidden) and (right := RIGHT.search(error.what)):
            error.what, error.do = missing_right(right)
        elif isinstance(error, Conflict):
            error.do = "try again"
        return error


class Lines:
    """An answer that goes on, line by line; `close` ends it from any thread."""

    def __init__(self, answer: urllib3.BaseHTTPResponse, troubles: Troubles) -> None:
        self._answer = answer
        self._troubles = troubles

    def __iter__(self) -> Iterator[bytes]:
        """Whole lines: one that was broken off is none."""
        rest = bytearray()
        try:
            with self._troubles():
                while piece := self._answer.read1(STREAM_BYTES):
                    rest += piece
                    *whole, rest = rest.split(b"\n")
                    yield from (bytes(line) for line in whole if line)
        finally:
            self._answer.close()

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # it has ended by itself
            self._answer.shutdown()


def missing_right(right: re.Match[str]) -> tuple[str, str]:
    """Which right is missing, and how to see whether one has it."""
    resource = right["resource"] + (f".{right['group']}" if right["group"] else "")
    place = f"in namespace {right['namespace']}" if right["namespace"] else "in all namespaces"
    option = f"-n {right['namespace']}" if right["namespace"] else "-A"
    check = f"kubectl auth can-i {right['verb']} {resource} {option}"
    return f"{right['user']} may not {right['verb']} {resource} {place}", f"ask for that right; `{check}` tells"
