"""One person at one API server: requests with a deadline, and answers that say what to do.

Nothing is repeated here but a login that has run out.  Redirects are not followed: credentials go to the server that
the kubeconfig names.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, SSLError

from tidegate.cluster.errors import (
    ApiDown,
    ClusterError,
    Conflict,
    Forbidden,
    LoginFailed,
    NotFound,
    Unauthorized,
    error_of,
)
from tidegate.cluster.kubectl.credentials import Credentials, credentials
from tidegate.cluster.kubectl.kubeconfig import Context

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 20.0
CHUNK = 16 * 1024
FRESH_SECONDS = 5.0  # credentials that are refused so soon would be again
BAD = 400
WHO_AM_I = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
WHO_AM_I_ASKED = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
MERGE_PATCH = "application/merge-patch+json"
RIGHT = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]*)"'
    r'(?: in API group "(?P<group>[^"]*)")?(?: in the namespace "(?P<namespace>[^"]*)")?'
)
Object = dict[str, Any]


class CertificateInvalid(ClusterError):
    """Whoever answers cannot show that it is the server."""

    reason = "CertificateInvalid"


class CrdMissing(ClusterError):
    """The cluster does not know ModelDeployments."""

    reason = "CrdMissing"


class Connection:
    """Requests of a context's user, for as long as a `--watch` or a `wait` lasts."""

    def __init__(self, context: Context) -> None:
        self.context = context
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

    def lines(self, path: str, query: Mapping[str, str], seconds: float) -> Iterator[Object]:
        """What a watch says, a document each, until the server ends it; raises as `request` does.

        A connection that says nothing for longer than `seconds`, in which the server has to end it, is lost (ApiDown).
        """
        url = self.context.server + path + f"?{urlencode(query)}"
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=seconds + ANSWER_SECONDS)
        try:
            answer = self._pool.request(
                "GET", url, headers=self._headers, redirect=False, preload_content=False, timeout=timeout
            )
            if answer.status >= BAD:
                self._read(answer.status, answer.data, answer.headers.get("Retry-After", ""))
            with closing(answer):
                yield from map(document, whole_lines(answer.stream(CHUNK)))
        except (HTTPError, OSError, ValueError) as error:
            raise ApiDown(f"the watch is lost: {cause(error)}", where=self.context.server) from None

    def who_am_i(self) -> str:
        """The name by which the API server knows us; empty where it does not say."""
        try:
            found = self.request("POST", WHO_AM_I, query={}, body=WHO_AM_I_ASKED)
        except ClusterError:  # an old server, or a right that somebody took away: the act itself needs no name
            return ""
        name = ((found.get("status") or {}).get("userInfo") or {}).get("username")
        return str(name or "")

    def patch(self, path: str, change: Mapping[str, Any], **query: str) -> Object:
        """A merge patch; with a resourceVersion in it only if nobody has written since (Conflict)."""
        return self.request("PATCH", path, query=query, body=change)

    def request(
        self, method: str, path: str, *, query: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> Object:
        """One request and its JSON; raises the errors of `tidegate.cluster.errors`, CertificateInvalid, CrdMissing.

        Credentials that have run out are asked for once more.
        """
        try:
            return self._answer(method, path, query, body)
        except Unauthorized:
            if not self._may_be_renewed:
                raise
        self._log_in()
        return self._answer(method, path, query, body)

    def _answer(self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None) -> Object:
        headers = self._headers.copy()
        if body is not None:
            headers["Content-Type"] = MERGE_PATCH if method == "PATCH" else "application/json"
        url = self.context.server + path + (f"?{urlencode(query)}" if query else "")
        content = None if body is None else json.dumps(body).encode()
        try:
            answer = self._pool.request(method, url, body=content, headers=headers, redirect=False)
        except SSLError as error:
            raise distrusted(error, self.context) from None
        except HTTPError as error:
            do = "check the network and the server's address in the kubeconfig"
            raise ApiDown(f"the API server does not answer: {cause(error)}", where=self.context.server, do=do) from None
        return self._read(answer.status, answer.data, answer.headers.get("Retry-After", ""))

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


def document(line: bytes) -> Object:
    """A line as JSON's object; raises ValueError."""
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("it says what is no document")
    return found


def whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Lines out of pieces of any length; one that is cut off at the end is none."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line for line in lines if line)


def missing_right(right: re.Match[str]) -> tuple[str, str]:
    """Which right is missing, and how to see whether one has it."""
    resource = right["resource"] + (f".{right['group']}" if right["group"] else "")
    place = f"in namespace {right['namespace']}" if right["namespace"] else "in all namespaces"
    option = f"-n {right['namespace']}" if right["namespace"] else "-A"
    check = f"kubectl auth can-i {right['verb']} {resource} {option}"
    return f"{right['user']} may not {right['verb']} {resource} {place}", f"ask for that right; `{check}` tells"


# -- how the server is reached


def pool(context: Context, who: Credentials) -> urllib3.PoolManager:
    """A pool to the context's server, by its proxy where there is one."""
    server = urlsplit(context.server)
    if server.scheme not in ("http", "https") or not server.hostname:
        raise LoginFailed("the server is no http(s) address", where=context.cluster.where, do="correct the kubeconfig")
    options: dict[str, Any] = {
        "retries": False,
        "timeout": urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS),
        "maxsize": 2,  # a watch beside all else
    }
    if server.scheme == "https":
        options["ssl_context"] = tls(context, who)
        if name := context.cluster.text("tls-server-name"):
            options["server_hostname"] = name
    proxy = proxy_of(context, server.scheme, server.hostname)
    if not proxy:
        return urllib3.PoolManager(**options)
    try:
        return urllib3.ProxyManager(proxy, **options)
    except (urllib3.exceptions.ProxySchemeUnknown, urllib3.exceptions.LocationParseError):
        raise LoginFailed(
            "only http:// and https:// proxies are supported", where=context.cluster.where, do="change proxy-url"
        ) from None


def proxy_of(context: Context, scheme: str, host: str) -> str:
    """The kubeconfig's proxy, else the environment's (HTTPS_PROXY, NO_PROXY)."""
    if named := context.cluster.text("proxy-url"):
        return named
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return ""
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    return "" if proxy_bypass(host) or in_a_network(host, proxies.get("no", "")) else proxies.get(scheme, "")


def in_a_network(host: str, listed: str) -> bool:
    """Whether an address is in one of the networks of NO_PROXY (10.0.0.0/8), which Go knows and Python does not."""
    from ipaddress import ip_address, ip_network

    try:
        address = ip_address(host)
    except ValueError:
        return False
    for entry in listed.split(","):
        with contextlib.suppress(ValueError):  # a name
            if "/" in entry and address in ip_network(entry.strip(), strict=False):
                return True
    return False


def tls(context: Context, who: Credentials) -> ssl.SSLContext:
    """Whom to trust, and our own certificate; raises LoginFailed for bytes that are no certificates."""
    cluster = context.cluster
    authority = cluster.content("certificate-authority")
    try:
        made = ssl.create_default_context(cadata=authority.decode("ascii") or None)  # None: those of the system
    except (ssl.SSLError, ValueError):
        what, do = "certificate-authority holds no certificate in PEM", "correct the kubeconfig"
        raise LoginFailed(what, where=cluster.where, do=do) from None
    # Go's clients accept authorities without key identifiers; Python 3.13 does not unless told.
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if cluster.values.get("insecure-skip-tls-verify"):
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # whoever wrote the flag knows
    if who.certificate:
        load_certificate(made, who, context.user.where)
    return made


def load_certificate(made: ssl.SSLContext, who: Credentials, where: str) -> None:
    """The ssl module reads keys from files only: one that nobody else can read, for a moment."""
    with tempfile.NamedTemporaryFile(prefix="tidegate-") as file:  # mode 0600
        file.write(who.certificate + b"\n" + who.key)
        file.flush()
        try:
            made.load_cert_chain(Path(file.name), password="")  # else a key with one would be asked for
        except (ssl.SSLError, ValueError):
            what, do = "client-certificate and client-key are no pair in PEM", "log in again"
            raise LoginFailed(what, where=where, do=do) from None


def distrusted(error: SSLError, context: Context) -> ClusterError:
    """TLS that failed: a certificate that does not fit, or something that speaks no TLS."""
    verification = next((one for one in chain(error) if isinstance(one, ssl.SSLCertVerificationError)), None)
    if verification is None:
        do = "check the server's address in the kubeconfig"
        return ApiDown(f"the TLS handshake failed: {cause(error)}", where=context.server, do=do)
    what = f"the server's certificate is not trusted: {verification.verify_message}"
    return CertificateInvalid(what, where=context.server, do="correct certificate-authority in the kubeconfig")


def chain(error: BaseException) -> list[BaseException]:
    """An error and what it came of; urllib3 wraps the reason in an argument."""
    found: list[BaseException] = [error]
    while True:
        last = found[-1]
        reasons = [one for one in (*last.args, last.__cause__, last.__context__) if isinstance(one, BaseException)]
        following = next((one for one in reasons if one not in found), None)
        if following is None:
            return found
        found.append(following)


def cause(error: BaseException) -> str:
    """The system's own words, such as `Connection refused`."""
    said = [one for one in chain(error) if isinstance(one, OSError) and one.strerror]
    if said:
        return str(said[0].strerror)
    return "no answer in time" if isinstance(error, urllib3.exceptions.TimeoutError) else type(error).__name__
